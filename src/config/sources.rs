//! Where values come from: flags, then the environment, then the file, then defaults. All problems are collected, so that
//! they can be reported at once.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    path::Path,
};

use super::{
    names::suggestion,
    problem::Problem,
    row::Row,
    secret::{MASK, SecretUrl},
    sinks,
    values::{Form, Value},
};
use crate::telemetry::cause;

/// The key of the option whose value is a list of sinks, and that of the tables with the same meaning.
const SINK: &str = "sink";
const SINKS: &str = "sinks";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Flag,
    Environment,
    File,
    Default,
}

#[derive(Clone, Debug)]
struct Given {
    text: String,
    source: Source,
}

/// All sources of one start of the program, the values that were read from them, and what is wrong with those.
pub(super) struct Settings {
    /// Texts of the flags, by option name.
    flags: BTreeMap<&'static str, String>,
    environment: BTreeMap<OsString, OsString>,
    file: BTreeMap<String, String>,
    file_name: String,
    /// Values read, by option key.
    given: BTreeMap<String, Given>,
    problems: Vec<Problem>,
    /// Keys of options with problems. Rules that compare them with others are not checked.
    refused: Vec<String>,
}

impl Settings {
    pub(super) fn new(flags: BTreeMap<&'static str, String>, environment: BTreeMap<OsString, OsString>) -> Self {
        Self {
            flags,
            environment,
            file: BTreeMap::new(),
            file_name: String::new(),
            given: BTreeMap::new(),
            problems: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Adds a TOML file as a source. A key that is not in `options` is refused.
    pub(super) fn load(&mut self, path: &Path, options: &[Row]) {
        self.file_name = path.display().to_string();
        let subject = format!("--config {}", self.file_name);
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let reason = format!("cannot be read: {}", cause::of_io(&error));
                return self.problems.push(Problem::new(subject, reason));
            }
        };
        let table: toml::Table = match toml::from_str(&text) {
            Ok(table) => table,
            Err(error) => {
                // The error's own text quotes the line, which may hold a secret.
                let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
                let reason = format!("line {line} is not TOML: {}", error.message());
                return self.problems.push(Problem::new(subject, reason));
            }
        };
        for (key, value) in table {
            let subject = format!("{key} in {}", self.file_name);
            if key == SINKS && options.iter().any(|option| option.form == Form::Sinks) {
                match sinks::of_tables(&value) {
                    Ok(text) => self.add_sinks(&text),
                    Err(reason) => self.problems.push(Problem::new(subject, reason)),
                }
            } else if !options.iter().any(|option| option.key() == key) {
                let reason = format!("is not an option{}", suggestion(&key, options.iter().map(Row::key)));
                self.problems.push(Problem::new(subject, reason));
            } else if let Some(text) = scalar(&value) {
                if options.iter().any(|option| option.key() == key && option.form == Form::Sinks) {
                    self.add_sinks(&text);
                } else {
                    self.file.insert(key, text);
                }
            } else {
                let reason = "must be a text, a whole number, true or false, or a list of texts";
                self.problems.push(Problem::new(subject, reason));
            }
        }
    }

    /// Adds sinks of the file, which may be in a list and in tables.
    fn add_sinks(&mut self, text: &str) {
        let sinks = self.file.entry(SINK.to_owned()).or_default();
        let separator = if sinks.is_empty() { "" } else { "," };
        *sinks = format!("{sinks}{separator}{text}");
    }

    /// The value of an option. If it is wrong, that is noted, and the default is returned instead, so that the other rules
    /// can still be checked; `conclude` then fails.
    pub(super) fn get<T: Value>(&mut self, option: &Row, bounds: &T::Bounds) -> T {
        let given = self.find(option);
        let read = T::read(&given.text, bounds);
        self.given.insert(option.key(), given);
        read.unwrap_or_else(|reason| {
            self.refuse(option, reason);
            default(option, bounds)
        })
    }

    /// The text of the first source that has one. An empty text counts as none: container tools pass on in this way what
    /// was left out.
    fn find(&mut self, option: &Row) -> Given {
        let variable =
            self.environment.get(OsStr::new(&option.variable())).map(|text| text.to_str().map(str::to_owned));
        if variable == Some(None) {
            self.problems.push(Problem::new(option.variable(), "is not UTF-8"));
            self.refused.push(option.key());
        }
        let sources = [
            (self.flags.get(option.name).cloned(), Source::Flag),
            (variable.flatten(), Source::Environment),
            (self.file.get(&option.key()).cloned(), Source::File),
        ];
        let mut texts = sources.into_iter().filter_map(|(text, source)| Some(Given { text: text?, source }));
        let given = texts.find(|given| !given.text.is_empty());
        given.unwrap_or_else(|| Given { text: option.default.to_owned(), source: Source::Default })
    }

    /// Notes that the value of an option is wrong.
    pub(super) fn refuse(&mut self, option: &Row, reason: impl Into<String>) {
        let origin = match self.given.get(&option.key()) {
            Some(given) if given.source != Source::Flag => format!(" ({})", self.origin(option, given)),
            _ => String::new(),
        };
        self.problems.push(Problem::new(format!("{}{origin}", option.flag()), reason));
        self.refused.push(option.key());
    }

    /// Notes a broken rule about several options, and blames the first of them. A rule about an option that is wrong by
    /// itself is not checked.
    pub(super) fn demand(&mut self, options: &[Row], holds: bool, reason: impl Into<String>) {
        let Some(blamed) = options.first() else { return };
        if !holds && !options.iter().any(|option| self.refused.contains(&option.key())) {
            self.refuse(blamed, reason);
        }
    }

    /// The result if no value is wrong; otherwise all problems.
    pub(super) fn conclude<T>(self, result: T) -> Result<T, Vec<Problem>> {
        if self.problems.is_empty() { Ok(result) } else { Err(self.problems) }
    }

    /// One line per option with its value and origin, in the form of the file, with secrets masked.
    pub(super) fn describe(&self, options: &[Row]) -> String {
        options.iter().map(|option| self.line(option)).collect::<Vec<_>>().join("\n")
    }

    fn line(&self, option: &Row) -> String {
        let given = self.given.get(&option.key()).filter(|given| !given.text.is_empty());
        let Some(given) = given else { return format!("# {} is not given", option.key()) };
        let value = match option.form {
            Form::Number | Form::Switch => given.text.clone(),
            Form::Secret => quoted(MASK),
            Form::Url => quoted(&SecretUrl::read(&given.text, &()).map_or(MASK.to_owned(), |url| url.to_string())),
            Form::Sinks => quoted(&sinks::masked(&given.text).unwrap_or_else(|| MASK.to_owned())),
            Form::Text | Form::List => quoted(&given.text),
        };
        format!("{:<48} # {}", format!("{} = {value}", option.key()), self.origin(option, given))
    }

    fn origin(&self, option: &Row, given: &Given) -> String {
        match given.source {
            Source::Flag => option.flag(),
            Source::Environment => option.variable(),
            Source::File => format!("{} in {}", option.key(), self.file_name),
            Source::Default => "default".to_owned(),
        }
    }
}

#[expect(clippy::expect_used, reason = "`every_default_is_right_by_its_own_rules` reads every default")]
fn default<T: Value>(option: &Row, bounds: &T::Bounds) -> T {
    T::read(option.default, bounds).expect("a default is within its own bounds")
}

/// The text in quotes, as TOML and JSON write it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Array(values) => {
            let texts: Option<Vec<_>> = values.iter().map(toml::Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        _ => None,
    }
}
