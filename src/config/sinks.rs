//! Sinks, as `--sink` gives them, and as the tables `[[sinks]]` of the file do.

use url::{Url, form_urlencoded};

use super::{
    sink_url::{Sink, sink},
    values::{Form, Value},
};

/// Brokers that may be given by a word alone: they listen on this machine, at the port that is usual for them.
const LOCAL: [(&str, &str); 4] = [
    ("redis", "redis://127.0.0.1:6379"),
    ("amqp", "amqp://127.0.0.1:5672"),
    ("nats", "nats://127.0.0.1:4222"),
    ("kafka", "kafka://127.0.0.1:9092"),
];

/// The sinks of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sinks(pub Vec<Sink>);

impl Value for Sinks {
    type Bounds = ();
    const FORM: Form = Form::Sinks;
    const PLACEHOLDER: &'static str = "URL";

    fn read(text: &str, (): &()) -> Result<Self, String> {
        let mut sinks: Vec<Sink> = Vec::new();
        for url in urls(text) {
            let sink = sink(&url)?;
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

/// The same list without passwords; `None` if a URL cannot be read.
pub(super) fn masked(text: &str) -> Option<String> {
    let masked: Result<Vec<_>, _> = urls(text).iter().map(|url| sink(url).map(|sink| sink.masked)).collect();
    Some(masked.ok()?.join(","))
}

/// The URLs of a list. A URL may have commas between its hosts, so a part without `://` belongs to the URL before it.
fn urls(text: &str) -> Vec<String> {
    let mut urls: Vec<String> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let local = LOCAL.iter().find(|(name, _)| *name == part).map(|(_, url)| *url);
        match urls.last_mut() {
            Some(before) if local.is_none() && !part.contains("://") => *before = format!("{before},{part}"),
            _ => urls.push(local.unwrap_or(part).to_owned()),
        }
    }
    urls
}

/// The tables `[[sinks]]` as the text of `--sink`. A reason continues a sentence that begins with the name of the table.
pub(super) fn of_tables(value: &toml::Value) -> Result<String, String> {
    let tables = value.as_array().filter(|tables| tables.iter().all(toml::Value::is_table));
    let tables = tables.ok_or("must be tables, as in [[sinks]] url = \"nats://host\"")?;
    let urls: Result<Vec<_>, _> = tables.iter().filter_map(toml::Value::as_table).map(of_table).collect();
    Ok(urls?.join(","))
}

fn of_table(table: &toml::Table) -> Result<String, String> {
    let (mut url, mut user, mut password) = (None, None, None);
    let mut parameters = form_urlencoded::Serializer::new(String::new());
    let mut has_parameters = false;
    for (key, value) in table {
        let text = match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(number) => number.to_string(),
            _ => return Err(format!("has a {key} that is neither a text nor a whole number")),
        };
        match key.as_str() {
            "url" => url = Some(text),
            "username" => user = Some(text),
            "password" => password = Some(text),
            _ => {
                parameters.append_pair(key, &text);
                has_parameters = true;
            }
        }
    }
    let url = url.ok_or("has a table without url")?;
    let local = LOCAL.iter().find(|(name, _)| *name == url).map(|(_, url)| *url);
    let url = with_user(local.unwrap_or(&url), user.as_deref(), password.as_deref())?;
    if !has_parameters {
        return Ok(url);
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    Ok(format!("{url}{separator}{}", parameters.finish()))
}

fn with_user(url: &str, user: Option<&str>, password: Option<&str>) -> Result<String, String> {
    if user.is_none() && password.is_none() {
        return Ok(url.to_owned());
    }
    let (scheme, rest) = url.split_once("://").ok_or("has a url without ://")?;
    if rest.split(['/', '?', '#']).next().is_some_and(|hosts| hosts.contains('@')) {
        return Err("has a user in the url, and username or password beside it".to_owned());
    }
    let mut encoded = Url::parse("amqp://host").map_err(|error| error.to_string())?;
    // The library leaves a percent sign as it is, and what follows it would be decoded.
    let (user, password) =
        (user.unwrap_or_default().replace('%', "%25"), password.map(|text| text.replace('%', "%25")));
    let set = encoded.set_username(&user).and_then(|()| encoded.set_password(password.as_deref()));
    set.map_err(|()| "has a username or a password that cannot be in a URL")?;
    let encoded = encoded.as_str().trim_start_matches("amqp://").trim_end_matches("host").replace(',', "%2C");
    Ok(format!("{scheme}://{encoded}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Broker, Sasl};

    fn read(text: &str) -> Vec<Sink> {
        Sinks::read(text, &()).unwrap().0
    }

    fn of_file(text: &str) -> Result<Vec<Sink>, String> {
        let table: toml::Table = toml::from_str(text).unwrap();
        Ok(Sinks::read(&of_tables(&table["sinks"])?, &())?.0)
    }

    #[test]
    fn parameters_of_a_sink_are_not_passed_to_the_client() {
        let sinks = read("redis://:secret@host:7/2?name=audit&stream=s&max_length=9, redis://host");
        let [audit, plain] = &sinks[..] else { panic!("{sinks:?}") };
        assert_eq!(audit.name, "audit");
        assert_eq!(audit.broker, Broker::Redis { stream: "s".into(), max_length: 9 });
        assert_eq!(audit.url.expose(), "redis://:secret@host:7/2");
        assert_eq!(plain.name, "redis");
        assert_eq!(plain.broker, Broker::Redis { stream: "boxoffice:events".into(), max_length: 1_000_000 });
        assert!(!format!("{sinks:?}").contains("secret"));
    }

    #[test]
    fn a_word_is_a_broker_on_this_machine_and_a_url_may_have_several_hosts() {
        let sinks = read("redis,kafka://ada:pw@one:9092,two:9093?sasl=scram-sha-256,nats://one,two,amqp");
        let urls: Vec<_> = sinks.iter().map(|sink| (sink.name.as_str(), sink.url.expose(), &sink.hosts[..])).collect();
        assert_eq!(
            urls,
            [
                ("redis", "redis://127.0.0.1:6379", &[][..]),
                ("kafka", "kafka://ada:pw@one:9092", &["two:9093".to_owned()]),
                ("nats", "nats://one", &["two".to_owned()]),
                ("rabbitmq", "amqp://127.0.0.1:5672", &[]),
            ]
        );
        assert_eq!(
            sinks[1].broker,
            Broker::Kafka { topic: "boxoffice.events".into(), encrypted: false, sasl: Sasl::ScramSha256 }
        );
    }

    #[test]
    fn a_table_of_the_file_is_a_sink() {
        let sinks = of_file(
            "[[sinks]]\nurl = 'amqps://host/%2f'\nexchange = 'seats'\nusername = 'ada%'\npassword = 'a,b/c%41'\n\
             [[sinks]]\nurl = 'nats'\nsubject = 'cinema'\nmax_messages = 5\nname = 'second'",
        )
        .unwrap();
        assert_eq!(sinks[0].broker, Broker::RabbitMq { exchange: "seats".into() });
        assert_eq!(sinks[0].url.expose(), "amqps://ada%25:a%2Cb%2Fc%2541@host/%2f");
        assert_eq!(sinks[1].name, "second");
        let Broker::Nats { subject, max_messages, .. } = &sinks[1].broker else { panic!("{sinks:?}") };
        assert_eq!((subject.as_str(), *max_messages), ("cinema", 5));
        for (text, why) in [
            ("[[sinks]]\nname = 'a'", "without url"),
            ("[[sinks]]\nurl = 'nats://a@b'\nusername = 'c'", "has a user in the url"),
            ("[[sinks]]\nurl = true", "neither a text nor"),
            ("[[sinks]]\nurl = 'nats'\ntopic = 'x'", "a parameter other than"),
            ("[sinks]\nurl = 'nats'", "must be tables"),
        ] {
            let refused = of_file(text).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    #[test]
    fn a_list_is_printed_without_passwords() {
        let text = "kafka://ada:secret@one:9092,two:9093?topic=t,redis://:secret@host";
        assert_eq!(masked(text).as_deref(), Some("kafka://ada:***@one:9092,two:9093?topic=t,redis://:***@host"));
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
            ("redis://host,other", "several hosts"),
            ("amqp://host/a/b", "must be as in amqp"),
            ("nats://host?subject=a.>", "has a subject"),
            ("nats://host?stream=a.b", "has a stream"),
            ("nats://host/path", "has a path"),
            ("kafka://host?topic=a/b", "has a topic"),
            ("kafka://host?sasl=plain", "has sasl without a user"),
            ("kafka://ada:b@host?sasl=digest", "has a sasl other than"),
            ("kafka://ada@host", "has a user without a password"),
            ("kafka://host?ca_file=x", "has a ca_file without encryption"),
        ] {
            let refused = Sinks::read(text, &()).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
