//! How values are written: each type that an option can have reads its own text, within its bounds, or refuses it with a
//! reason.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use url::Url;

use super::secret::{Secret, SecretUrl};

/// How a value is given on the command line and printed by `check-config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Printed without quotation marks.
    Number,
    /// A flag that needs no value: `--sweep` means `--sweep=true`. Printed without quotation marks.
    Switch,
    Text,
    /// A text with commas, whose flag may also be repeated.
    List,
    /// Printed as asterisks.
    Secret,
    /// Printed without its password.
    Url,
    /// Sinks with commas, whose flag may also be repeated. Each is printed without its password.
    Sinks,
}

/// A type that an option can have.
pub(super) trait Value: Sized {
    /// What the declaration of an option gives after `in`: a range for numbers and lengths of time, nothing for others.
    type Bounds;
    const FORM: Form = Form::Text;
    /// What `--help` prints in the place of a value.
    const PLACEHOLDER: &'static str;

    /// The bounds in words, for help; empty if there are none.
    fn explain(_: &Self::Bounds) -> String {
        String::new()
    }

    /// Reads a value. The reason of a refusal continues a sentence that begins with the option, and never quotes a secret.
    fn read(text: &str, bounds: &Self::Bounds) -> Result<Self, String>;
}

/// An option without a value.
impl<T: Value> Value for Option<T> {
    type Bounds = T::Bounds;
    const FORM: Form = T::FORM;
    const PLACEHOLDER: &'static str = T::PLACEHOLDER;

    fn explain(bounds: &T::Bounds) -> String {
        T::explain(bounds)
    }

    fn read(text: &str, bounds: &T::Bounds) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::read(text, bounds).map(Some) }
    }
}

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Value for Duration {
    type Bounds = RangeInclusive<Duration>;
    const PLACEHOLDER: &'static str = "DURATION";

    fn explain(bounds: &Self::Bounds) -> String {
        format!("{} to {}", format_duration(*bounds.start()), format_duration(*bounds.end()))
    }

    fn read(text: &str, bounds: &Self::Bounds) -> Result<Self, String> {
        let value = parse_duration(text)
            .ok_or_else(|| format!("\"{text}\" is not a length of time such as 500ms, 30s, 10m, 2h or 7d"))?;
        let (least, most) = (format_duration(*bounds.start()), format_duration(*bounds.end()));
        if bounds.contains(&value) { Ok(value) } else { Err(format!("{text} is not within {least} and {most}")) }
    }
}

/// Parses `90s`, `10m`, or several such parts: `1h30m`.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*milliseconds)?)?;
        rest = next;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

/// Writes a duration in the largest unit of which it is a whole number.
fn format_duration(value: Duration) -> String {
    let milliseconds = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    let fitting = UNITS.iter().rev().find(|(_, size)| milliseconds.is_multiple_of(*size));
    let (unit, size) = fitting.unwrap_or(&UNITS[0]);
    format!("{}{unit}", milliseconds / size)
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Value for $number {
            type Bounds = RangeInclusive<u64>;
            const FORM: Form = Form::Number;
            const PLACEHOLDER: &'static str = "NUMBER";

            fn explain(bounds: &Self::Bounds) -> String {
                format!("{} to {}", bounds.start(), bounds.end())
            }

            fn read(text: &str, bounds: &Self::Bounds) -> Result<Self, String> {
                let value: u64 = text.parse().map_err(|_| format!("\"{text}\" is not a whole number"))?;
                let fitting = bounds.contains(&value).then(|| Self::try_from(value).ok()).flatten();
                fitting.ok_or_else(|| format!("{value} is not within {} and {}", bounds.start(), bounds.end()))
            }
        }
    )*};
}

numbers!(u8 u16 u32 u64 usize);

impl Value for SocketAddr {
    type Bounds = ();
    const PLACEHOLDER: &'static str = "ADDRESS:PORT";

    fn read(text: &str, (): &()) -> Result<Self, String> {
        text.parse().map_err(|_| {
            format!("\"{text}\" is not an IP address with a port, such as 127.0.0.1:50051 (names are not looked up)")
        })
    }
}

/// An address to listen on, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// The address.
    At(SocketAddr),
    /// No port is opened.
    Off,
}

impl Listen {
    /// The address, if there is one.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::At(address) => Some(address),
            Self::Off => None,
        }
    }
}

impl Value for Listen {
    type Bounds = ();
    const PLACEHOLDER: &'static str = "ADDRESS:PORT|off";

    fn read(text: &str, (): &()) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        SocketAddr::read(text, &()).map(Self::At).map_err(|reason| format!("{reason}, nor \"off\""))
    }
}

impl Value for PathBuf {
    type Bounds = ();
    const PLACEHOLDER: &'static str = "PATH";

    fn read(text: &str, (): &()) -> Result<Self, String> {
        Ok(Self::from(text))
    }
}

impl Value for String {
    type Bounds = ();
    const PLACEHOLDER: &'static str = "TEXT";

    fn read(text: &str, (): &()) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Value for Secret {
    type Bounds = ();
    const FORM: Form = Form::Secret;
    const PLACEHOLDER: &'static str = "SECRET";

    fn read(text: &str, (): &()) -> Result<Self, String> {
        // Secrets travel as gRPC metadata, which takes nothing else.
        let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && text.trim() == text;
        printable.then(|| Self::new(text)).ok_or_else(|| {
            "must be printable ASCII, without spaces at its ends (the value is not shown: it is a secret)".to_owned()
        })
    }
}

impl Value for SecretUrl {
    type Bounds = ();
    const FORM: Form = Form::Url;
    const PLACEHOLDER: &'static str = "URL";

    fn read(text: &str, (): &()) -> Result<Self, String> {
        // The value is not quoted: it may hold a password, wherever the mistake is.
        Url::parse(text).map(|url| Self::new(text, &url)).map_err(|reason| format!("is not a URL: {reason}"))
    }
}

/// Which web pages may call, besides those of the same origin and of localhost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// Those of these origins, each written as a browser writes it.
    Listed(Vec<String>),
    /// All.
    Any,
}

impl Value for Cors {
    type Bounds = ();
    const FORM: Form = Form::List;
    const PLACEHOLDER: &'static str = "ORIGIN";

    fn read(text: &str, (): &()) -> Result<Self, String> {
        let words: Vec<_> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        if words == ["*"] {
            return Ok(Self::Any);
        }
        words.into_iter().map(origin).collect::<Result<_, _>>().map(Self::Listed)
    }
}

fn origin(text: &str) -> Result<String, String> {
    let origin = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .map(|url| url.origin().ascii_serialization())
        .filter(|origin| origin.eq_ignore_ascii_case(text.trim_end_matches('/')));
    origin.ok_or_else(|| format!("\"{text}\" is not a web origin such as https://cinema.example:8443, nor \"*\" alone"))
}

/// The names by which web pages may call the service, besides those of this machine and the address that it listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// These names. One without a port stands for all ports.
    Listed(Vec<String>),
    /// All.
    Any,
}

impl Value for Hosts {
    type Bounds = ();
    const FORM: Form = Form::List;
    const PLACEHOLDER: &'static str = "HOST";

    fn read(text: &str, (): &()) -> Result<Self, String> {
        let words: Vec<_> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        if words == ["*"] {
            return Ok(Self::Any);
        }
        words.into_iter().map(host).collect::<Result<_, _>>().map(Self::Listed)
    }
}

fn host(text: &str) -> Result<String, String> {
    let plain = Url::parse(&format!("http://{text}/")).is_ok_and(|url| {
        url.has_host() && url.username().is_empty() && url.path() == "/" && !text.contains(['/', '?', '#', '@'])
    });
    if plain {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("\"{text}\" is not a host such as tickets.example or tickets.example:8443, nor \"*\" alone"))
    }
}

/// Pauses between attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pauses(pub Vec<Duration>);

/// The most pauses, and the longest.
const MOST_PAUSES: usize = 50;
const LONGEST_PAUSE: Duration = Duration::from_hours(30 * 24);

impl Value for Pauses {
    type Bounds = ();
    const FORM: Form = Form::List;
    const PLACEHOLDER: &'static str = "DURATIONS";

    fn read(text: &str, (): &()) -> Result<Self, String> {
        let words: Vec<_> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        if words.len() > MOST_PAUSES {
            return Err(format!("has {} pauses, and {MOST_PAUSES} are allowed", words.len()));
        }
        let bounds = Duration::ZERO..=LONGEST_PAUSE;
        words.into_iter().map(|word| Duration::read(word, &bounds)).collect::<Result<_, _>>().map(Self)
    }
}

/// Names of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointNames(pub Vec<String>);

impl Value for EndpointNames {
    type Bounds = ();
    const FORM: Form = Form::List;
    const PLACEHOLDER: &'static str = "NAME";

    fn read(text: &str, (): &()) -> Result<Self, String> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        Ok(Self(words.map(str::to_owned).collect()))
    }
}
