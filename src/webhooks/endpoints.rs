//! The file of endpoints. Everything that is wrong in it is reported at once, by endpoint and key, and no secret is quoted.

use std::{
    fs::File,
    io::Read as _,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use toml::{Table, Value};
use url::{Host, Url};

use super::{address::is_public, message, signature::Secret};
use crate::telemetry::cause;

/// The most bytes of the file.
const LONGEST_FILE: u64 = 1 << 20;
/// The most endpoints. Each has a stream of its own from the service.
const MOST_ENDPOINTS: usize = 100;
/// The most secrets of an endpoint: one, and others while it is being replaced.
const MOST_SECRETS: usize = 5;
/// The most characters of a name.
const LONGEST_NAME: usize = 40;
/// The keys of an endpoint.
const KEYS: [&str; 7] = ["name", "url", "secrets", "types", "begin", "allow_private", "ca_file"];

/// Where a new endpoint begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Begin {
    /// With the oldest event that the service keeps.
    #[default]
    Oldest,
    /// With what is committed after it was first seen.
    Now,
}

/// Where events are delivered.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The name. The state of the endpoint is stored under it.
    pub(super) name: Arc<str>,
    pub(super) url: Url,
    /// Each signs every delivery.
    pub(super) secrets: Vec<Secret>,
    /// The types of the events that are delivered, without the package. None: all.
    pub(super) types: Vec<String>,
    pub(super) begin: Begin,
    /// Whether the endpoint may be on an address that is not public, and without TLS.
    pub(super) allow_private: bool,
    /// Certificates of authorities that are trusted besides those that the web trusts.
    pub(super) authorities: Vec<CertificateDer<'static>>,
}

impl Endpoint {
    /// Whether events of this type are delivered.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|wanted| wanted == message::short(name))
    }
}

/// Reads the file.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn read(path: &Path) -> Result<Vec<Endpoint>, Vec<String>> {
    let mut text = String::new();
    let opened = File::open(path).and_then(|file| file.take(LONGEST_FILE + 1).read_to_string(&mut text));
    opened.map_err(|error| vec![format!("cannot be read: {}", cause::of_io(&error))])?;
    if text.len() as u64 > LONGEST_FILE {
        return Err(vec![format!("has more than {LONGEST_FILE} bytes")]);
    }
    let messages = message::Messages::new().map_err(|why| vec![why])?;
    parse(&text, &messages.types().collect::<Vec<_>>())
}

fn parse(text: &str, known: &[String]) -> Result<Vec<Endpoint>, Vec<String>> {
    let mut table: Table = toml::from_str(text).map_err(|error| {
        // The error's own text quotes the line, which may have a secret.
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        vec![format!("line {line} is not TOML")]
    })?;
    let entries = match table.remove("endpoint") {
        Some(Value::Array(entries)) if !entries.is_empty() => entries,
        _ => return Err(vec!["has no [[endpoint]]".to_owned()]),
    };
    let mut problems: Vec<_> = table.keys().map(|key| format!("has the unknown key {key}")).collect();
    if entries.len() > MOST_ENDPOINTS {
        problems.push(format!("has {} endpoints, and {MOST_ENDPOINTS} are allowed", entries.len()));
    }
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let name = entry.get("name").and_then(Value::as_str);
        let subject = name.map_or_else(|| format!("endpoint {}", index + 1), |name| format!("endpoint {name:?}"));
        let mut fields = Fields { table: entry.as_table(), problems: Vec::new() };
        let endpoint = fields.endpoint(known);
        if endpoints.iter().any(|other| other.name == endpoint.name) {
            fields.problems.push("has the name of another one".to_owned());
        }
        problems.extend(fields.problems.iter().map(|problem| format!("{subject} {problem}")));
        endpoints.push(endpoint);
    }
    if problems.is_empty() { Ok(endpoints) } else { Err(problems) }
}

/// An endpoint in the file, and what is wrong with it.
struct Fields<'t> {
    table: Option<&'t Table>,
    problems: Vec<String>,
}

impl Fields<'_> {
    fn endpoint(&mut self, known: &[String]) -> Endpoint {
        let unknown = self.table.into_iter().flat_map(Table::keys).filter(|key| !KEYS.contains(&key.as_str()));
        self.problems.extend(unknown.map(|key| format!("has the unknown key {key}")));
        let allow_private = match self.get("allow_private").map(Value::as_bool) {
            None => false,
            Some(Some(allowed)) => allowed,
            Some(None) => self.refuse("has an allow_private that is neither true nor false"),
        };
        Endpoint {
            name: self.name().into(),
            url: self.url(allow_private),
            secrets: self.secrets(),
            types: self.types(known),
            begin: self.begin(),
            allow_private,
            authorities: self.authorities(),
        }
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.table?.get(key)
    }

    /// Notes a problem. The value in its place is not used.
    fn refuse<T: Default>(&mut self, problem: impl Into<String>) -> T {
        self.problems.push(problem.into());
        T::default()
    }

    fn name(&mut self) -> String {
        let name = self.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) {
            return self.refuse(format!("needs a name of 1 to {LONGEST_NAME} of a-z, 0-9 and -"));
        }
        name
    }

    fn url(&mut self, allow_private: bool) -> Url {
        let url = self.get("url").and_then(Value::as_str).map(Url::parse);
        let Some(Ok(url)) = url else {
            self.problems.push("needs a url such as https://example.org/hooks".to_owned());
            return nowhere();
        };
        let problem = if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
            "needs a url that begins with https://"
        } else if url.scheme() == "http" && !allow_private {
            "has a url without TLS: it must begin with https://, unless allow_private = true"
        } else if !url.username().is_empty() || url.password().is_some() {
            "has a url with a user or a password, which is not supported: deliveries are signed"
        } else if url.fragment().is_some() {
            "has a url with a fragment (#), which is never sent"
        } else if !allow_private && names_private(&url) {
            "has a url with an address that is not public: it needs allow_private = true"
        } else {
            return url;
        };
        self.problems.push(problem.to_owned());
        url
    }

    fn secrets(&mut self) -> Vec<Secret> {
        let needed = format!("needs secrets: a list of 1 to {MOST_SECRETS}");
        let Some(list) = self.get("secrets").and_then(Value::as_array).cloned() else { return self.refuse(needed) };
        if list.is_empty() || list.len() > MOST_SECRETS {
            return self.refuse(needed);
        }
        let mut secrets = Vec::new();
        for (index, text) in list.iter().enumerate() {
            match text.as_str().and_then(Secret::read) {
                Some(secret) => secrets.push(secret),
                None => self.problems.push(format!(
                    "has a secret, the {}. of the list, that is not whsec_ and 24 to 64 bytes in base64 (it is not shown)",
                    index + 1
                )),
            }
        }
        secrets
    }

    fn types(&mut self, known: &[String]) -> Vec<String> {
        let Some(value) = self.get("types") else { return Vec::new() };
        let list = value.as_array().map(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        let Some(Some(list)) = list else { return self.refuse("has types that are not a list of texts") };
        let list: Vec<_> = list.into_iter().map(|name| message::short(name).to_owned()).collect();
        if let Some(unknown) = list.iter().find(|name| !known.contains(name)) {
            return self.refuse(format!("has the type {unknown:?}, which is none of {}", known.join(", ")));
        }
        list
    }

    fn begin(&mut self) -> Begin {
        match self.get("begin").map(Value::as_str) {
            None | Some(Some("oldest")) => Begin::Oldest,
            Some(Some("now")) => Begin::Now,
            Some(_) => self.refuse("has a begin that is neither \"oldest\" nor \"now\""),
        }
    }

    fn authorities(&mut self) -> Vec<CertificateDer<'static>> {
        let Some(value) = self.get("ca_file") else { return Vec::new() };
        let Some(path) = value.as_str().map(PathBuf::from) else {
            return self.refuse("has a ca_file that is not a path");
        };
        let content = match std::fs::read(&path) {
            Ok(content) => content,
            Err(error) => {
                let why = cause::of_io(&error);
                return self.refuse(format!("has the ca_file {}, which cannot be read: {why}", path.display()));
            }
        };
        let found = CertificateDer::pem_slice_iter(&content).collect::<Result<Vec<_>, _>>().unwrap_or_default();
        if RootCertStore::empty().add_parsable_certificates(found.clone()).0 == 0 {
            return self.refuse(format!("has the ca_file {}, which has no CERTIFICATE in PEM form", path.display()));
        }
        found
    }
}

/// Whether the host is an address that is not public. What a name leads to is checked at each attempt.
fn names_private(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => !is_public(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => !is_public(IpAddr::V6(address)),
        Some(Host::Domain(_)) | None => false,
    }
}

/// Stands in the place of a URL that is wrong. It is not used.
#[expect(clippy::expect_used, reason = "the text is a URL")]
fn nowhere() -> Url {
    Url::parse("https://invalid").expect("a URL")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn parsed(text: &str) -> Result<Vec<Endpoint>, Vec<String>> {
        let known = ["ReservationConfirmed", "SeatsReleased"].map(str::to_owned);
        parse(&text.replace("SECRET", SECRET), &known)
    }

    #[test]
    fn an_endpoint_is_read() {
        let text = "[[endpoint]]\nname = 'crm'\nurl = 'https://example.org/hooks?a=b'\nsecrets = ['SECRET', 'SECRET']\n\
                    types = ['boxoffice.v1.SeatsReleased']\n[[endpoint]]\nname = 'local'\nallow_private = true\n\
                    url = 'http://10.0.0.1:8080/'\nsecrets = ['SECRET']";
        let endpoints = parsed(text).unwrap();
        let [crm, local] = &endpoints[..] else { panic!("{endpoints:?}") };
        assert_eq!((&*crm.name, crm.url.as_str(), crm.secrets.len()), ("crm", "https://example.org/hooks?a=b", 2));
        assert!(crm.wants("boxoffice.v1.SeatsReleased") && !crm.wants("boxoffice.v1.ReservationConfirmed"));
        assert!(local.wants("boxoffice.v1.ReservationConfirmed") && local.allow_private && !crm.allow_private);
        assert!(!format!("{endpoints:?}").contains("MfKQ"));
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_and_no_secret_is_quoted() {
        let text = "color = 1\n[[endpoint]]\nname = 'CRM'\nurl = 'ftp://example.org'\nsecrets = ['whsec_c2hvcnQ=']\n\
                    types = ['Sold']\nallow_private = 'no'\ncolour = 2\n[[endpoint]]\nca_file = 'no-such-file.pem'";
        let problems = parsed(text).unwrap_err().join("\n");
        for problem in [
            "has the unknown key color\n",
            "endpoint \"CRM\" needs a name",
            "endpoint \"CRM\" needs a url",
            "endpoint \"CRM\" has a secret, the 1. of the list",
            "endpoint \"CRM\" has the type \"Sold\", which is none of ReservationConfirmed, SeatsReleased",
            "endpoint \"CRM\" has an allow_private",
            "endpoint \"CRM\" has the unknown key colour",
            "endpoint 2 needs a name",
            "endpoint 2 needs secrets",
            "endpoint 2 has the ca_file no-such-file.pem, which cannot be read: no such file",
        ] {
            assert!(problems.contains(problem), "{problem}: {problems}");
        }
        assert!(!problems.contains("c2hvcnQ"), "{problems}");
        let broken = parsed("[[endpoint]]\nsecrets = [SECRET").unwrap_err();
        assert_eq!(broken, ["line 2 is not TOML"]);
        assert_eq!(parsed("").unwrap_err(), ["has no [[endpoint]]"]);
        let twice = "[[endpoint]]\nname = 'a'\nurl = 'https://example.org'\nsecrets = ['SECRET']\n".repeat(2);
        assert_eq!(parsed(&twice).unwrap_err(), ["endpoint \"a\" has the name of another one"]);
    }

    #[test]
    fn an_address_that_is_not_public_needs_a_key() {
        for (url, why) in [
            ("http://example.org", "without TLS"),
            ("https://127.0.0.1/", "not public"),
            ("https://0x7f.1/", "not public"),
            ("https://[::1]/", "not public"),
            ("https://[::ffff:10.0.0.1]/", "not public"),
            ("https://169.254.169.254/", "not public"),
            ("https://user:secret@example.org/", "a user or a password"),
            ("https://example.org/#top", "a fragment"),
            ("mailto:a@example.org", "begins with https://"),
        ] {
            let text = format!("[[endpoint]]\nname = 'a'\nsecrets = ['SECRET']\nurl = '{url}'");
            let problems = parsed(&text).unwrap_err().join("\n");
            assert!(problems.contains(why) && !problems.contains("user:secret"), "{url}: {problems}");
            let allowed = parsed(&format!("{text}\nallow_private = true"));
            assert_eq!(allowed.is_ok(), url != "mailto:a@example.org" && !url.contains(['#', '@']), "{url}");
        }
    }
}
