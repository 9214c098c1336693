//! How values are written: each kind is read from text, within its bounds, or refused with a reason.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use url::Url;

use super::{Cors, LogFormat, Migrate, Secret, SecretUrl, options::Kind};
use crate::domain::seating::OrphanRule;

/// A value that an option can have.
pub(super) trait Value: Sized {
    /// Reads it. The reason for a refusal continues a sentence that names the option, and never quotes a secret.
    fn read(text: &str, kind: Kind) -> Result<Self, String>;
}

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Value for Duration {
    fn read(text: &str, kind: Kind) -> Result<Self, String> {
        let value = parse_duration(text)
            .ok_or_else(|| format!("\"{text}\" is not a length of time such as 500ms, 30s, 10m, 2h or 7d"))?;
        match kind {
            Kind::Duration(least, most) if value < least || value > most => {
                Err(format!("{text} is not within {} and {}", show_duration(least), show_duration(most)))
            }
            _ => Ok(value),
        }
    }
}

/// `90s`, `10m`, or several such parts: `1h30m`.
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

/// The way back: in the largest unit that leaves no rest.
pub(super) fn show_duration(value: Duration) -> String {
    let milliseconds = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    let fitting = UNITS.iter().rev().find(|(_, size)| milliseconds.is_multiple_of(*size));
    let (unit, size) = fitting.unwrap_or(&UNITS[0]);
    format!("{}{unit}", milliseconds / size)
}

macro_rules! counts {
    ($($number:ty)*) => {$(
        impl Value for $number {
            fn read(text: &str, kind: Kind) -> Result<Self, String> {
                let (least, most) = match kind {
                    Kind::Count(least, most) => (least, most),
                    _ => (0, u64::MAX),
                };
                let value: u64 = text.parse().map_err(|_| format!("\"{text}\" is not a whole number"))?;
                let fitting = (least..=most).contains(&value).then(|| Self::try_from(value).ok()).flatten();
                fitting.ok_or_else(|| format!("{value} is not within {least} and {most}"))
            }
        }
    )*};
}

counts!(u8 u16 u32 u64 usize);

impl Value for bool {
    fn read(text: &str, _: Kind) -> Result<Self, String> {
        choose(text, &[("true", true), ("false", false)])
    }
}

impl Value for Migrate {
    fn read(text: &str, _: Kind) -> Result<Self, String> {
        choose(text, &[("auto", Self::Auto), ("manual", Self::Manual)])
    }
}

impl Value for LogFormat {
    fn read(text: &str, _: Kind) -> Result<Self, String> {
        choose(text, &[("human", Self::Human), ("json", Self::Json)])
    }
}

/// On, off, or left to circumstances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wish {
    #[default]
    Auto,
    On,
    Off,
}

impl Value for Wish {
    fn read(text: &str, _: Kind) -> Result<Self, String> {
        choose(text, &[("auto", Self::Auto), ("on", Self::On), ("off", Self::Off)])
    }
}

/// What may happen to single seats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orphans(pub(super) OrphanRule);

impl Default for Orphans {
    fn default() -> Self {
        Self(OrphanRule::Allow)
    }
}

impl Value for Orphans {
    fn read(text: &str, _: Kind) -> Result<Self, String> {
        choose(text, &[("allow", Self(OrphanRule::Allow)), ("refuse", Self(OrphanRule::Refuse))])
    }
}

fn choose<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("\"{text}\" is not one of {}", known.join(", "))
    })
}

impl Value for SocketAddr {
    fn read(text: &str, _: Kind) -> Result<Self, String> {
        text.parse().map_err(|_| {
            format!("\"{text}\" is not an IP address with a port, such as 127.0.0.1:50051 (names are not looked up)")
        })
    }
}

/// An address, or nowhere at all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Listener(pub(super) Option<SocketAddr>);

impl Value for Listener {
    fn read(text: &str, kind: Kind) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        SocketAddr::read(text, kind)
            .map(|address| Self(Some(address)))
            .map_err(|reason| format!("{reason}, nor \"off\""))
    }
}

impl Value for PathBuf {
    fn read(text: &str, _: Kind) -> Result<Self, String> {
        Ok(Self::from(text))
    }
}

impl Value for String {
    fn read(text: &str, _: Kind) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Value for Secret {
    fn read(text: &str, _: Kind) -> Result<Self, String> {
        // It travels as metadata, which takes nothing else.
        let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && text.trim() == text;
        printable.then(|| Self::new(text)).ok_or_else(|| {
            "must be printable ASCII, without spaces at its ends (the value is not shown: it is a secret)".to_owned()
        })
    }
}

impl Value for SecretUrl {
    fn read(text: &str, _: Kind) -> Result<Self, String> {
        // The value is not quoted: whatever is wrong with it, a password may stand in it.
        Url::parse(text).map(|url| Self::new(text, &url)).map_err(|reason| format!("is not a URL: {reason}"))
    }
}

impl Value for Cors {
    fn read(text: &str, _: Kind) -> Result<Self, String> {
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
