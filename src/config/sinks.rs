//! Sinks, as `--sink` gives them: a URL each, whose parameters say what the service does there.

use url::Url;

use super::{
    secret::SecretUrl,
    values::{Form, Value},
};

/// The stream of a Redis sink, if its URL names none.
const STREAM: &str = "boxoffice:events";
/// The events that a Redis stream keeps, approximately, if its URL says nothing else.
const MAX_LENGTH: u64 = 1_000_000;
/// The most characters of the name of a sink.
const LONGEST_NAME: usize = 40;

/// The sinks of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sinks(pub Vec<Sink>);

/// A Redis stream to which events are delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// The sink's name. How far it is, is stored under this name.
    pub name: String,
    /// The stream.
    pub stream: String,
    /// How many events the stream keeps, approximately.
    pub max_length: u64,
    /// The server.
    pub url: SecretUrl,
}

impl Value for Sinks {
    type Bounds = ();
    const FORM: Form = Form::Urls;
    const PLACEHOLDER: &'static str = "URL";

    fn read(text: &str, (): &()) -> Result<Self, String> {
        let mut sinks: Vec<Sink> = Vec::new();
        for url in urls(text) {
            let sink = sink(url)?;
            if sinks.iter().any(|other| other.name == sink.name) {
                return Err(format!(
                    "has two sinks of the name {}; give one of them another name, as in ?name=audit",
                    sink.name
                ));
            }
            sinks.push(sink);
        }
        Ok(Self(sinks))
    }
}

/// The URLs of a list.
pub(super) fn urls(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|url| !url.is_empty())
}

/// Reads a URL such as `redis://host:6379/0?stream=boxoffice:events&max_length=1000000&name=redis`. A reason quotes no password.
fn sink(text: &str) -> Result<Sink, String> {
    let mut url = Url::parse(text).map_err(|reason| format!("is not a URL: {reason}"))?;
    if !["redis", "rediss"].contains(&url.scheme()) {
        return Err("must begin with redis:// or rediss://".to_owned());
    }
    let (mut name, mut stream, mut max_length) = ("redis".to_owned(), STREAM.to_owned(), MAX_LENGTH);
    for (parameter, value) in url.query_pairs() {
        match parameter.as_ref() {
            "name" => name = value.into_owned(),
            "stream" => stream = value.into_owned(),
            "max_length" => {
                let length = value.parse().ok().filter(|length| *length > 0);
                max_length = length.ok_or("has a max_length that is not a whole number above 0")?;
            }
            _ => return Err("has a parameter other than name, stream and max_length".to_owned()),
        }
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) {
        return Err(format!("has a name that is not 1 to {LONGEST_NAME} of a-z, 0-9 and -"));
    }
    if stream.is_empty() {
        return Err("has an empty stream".to_owned());
    }
    url.set_query(None);
    // Opens no connection: it parses the URL, and finds what this build cannot do.
    redis::Client::open(url.as_str()).map_err(|_| "must be as in rediss://user:password@host:6379/0")?;
    Ok(Sink { name, stream, max_length, url: SecretUrl::new(url.as_str(), &url) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_a_sink_are_not_passed_to_the_client() {
        let Sinks(sinks) =
            Sinks::read("redis://:secret@host:7/2?name=audit&stream=s&max_length=9, redis://host", &()).unwrap();
        let [audit, plain] = &sinks[..] else { panic!("{sinks:?}") };
        assert_eq!((audit.name.as_str(), audit.stream.as_str(), audit.max_length), ("audit", "s", 9));
        assert_eq!(audit.url.expose(), "redis://:secret@host:7/2");
        assert_eq!((plain.name.as_str(), plain.stream.as_str(), plain.max_length), ("redis", STREAM, MAX_LENGTH));
        assert!(!format!("{sinks:?}").contains("secret"));
    }

    #[test]
    fn what_is_wrong_with_a_sink_is_said() {
        for (text, why) in [
            ("http://host", "must begin with"),
            ("host", "is not a URL"),
            ("redis://host?stream=", "empty stream"),
            ("redis://host?length=4", "a parameter other than"),
            ("redis://host?max_length=0", "max_length"),
            ("redis://host?name=A", "has a name"),
            ("redis://host,redis://other", "two sinks of the name redis"),
        ] {
            let refused = Sinks::read(text, &()).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
