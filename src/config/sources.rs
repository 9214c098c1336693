//! Where values come from: flags over the environment over the file over defaults. Whatever is wrong is collected, so that
//! one answer names it all.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt, fs,
};

use super::{
    options::{Kind, PREFIX, Row},
    secret::{MASK, SecretUrl},
    table,
    values::Value,
};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// A wrong value: the flag of its option, where it came from, and why it is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    subject: String,
    reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.reason)
    }
}

/// All values of one start of the program, by name of the option, and what is wrong with them.
pub(super) struct Settings {
    rows: Vec<Row>,
    given: BTreeMap<&'static str, Given>,
    file_name: String,
    problems: Vec<Problem>,
    /// Names of options with problems: checks that compare them are left out.
    doubtful: Vec<&'static str>,
}

/// What was given as flags, by name of the option.
pub(super) type Flags = BTreeMap<&'static str, String>;
/// The environment.
pub(super) type Environment = BTreeMap<OsString, OsString>;

impl Settings {
    /// Puts the sources together, for the options of a subcommand.
    pub(super) fn gather(rows: Vec<Row>, flags: &Flags, environment: &Environment) -> Self {
        let given = BTreeMap::new();
        let mut this = Self { rows, given, file_name: String::new(), problems: Vec::new(), doubtful: Vec::new() };
        let mut path = None;
        if let Some(row) = this.rows.iter().find(|row| !row.stands_in_file()).copied() {
            this.gather_one(row, flags, environment, &BTreeMap::new());
            path = this.given.get(row.name).map(|given| given.text.clone());
        }
        let file = path.map(|path| this.read_file(path)).unwrap_or_default();
        for row in this.rows.clone().into_iter().filter(Row::stands_in_file) {
            this.gather_one(row, flags, environment, &file);
        }
        this
    }

    /// An empty value counts as none: that is how container tools pass on what was left out.
    fn gather_one(&mut self, row: Row, flags: &Flags, environment: &Environment, file: &BTreeMap<String, String>) {
        let flag = flags.get(row.name).cloned();
        let variable = environment.get(OsStr::new(&row.variable())).map(|text| text.to_str().map(str::to_owned));
        if variable == Some(None) {
            self.problems.push(Problem { subject: row.variable(), reason: "is not UTF-8".to_owned() });
            self.doubtful.push(row.name);
        }
        let default = Some(row.default.to_owned());
        let sources = [
            (flag, Source::Flag),
            (variable.flatten(), Source::Environment),
            (file.get(&row.key()).cloned(), Source::File),
            (default, Source::Default),
        ];
        let mut sources = sources.into_iter().filter_map(|(text, source)| Some((text?, source)));
        if let Some((text, source)) = sources.find(|(text, _)| !text.is_empty()) {
            self.given.insert(row.name, Given { text, source });
        }
    }

    fn read_file(&mut self, path: String) -> BTreeMap<String, String> {
        let subject = format!("--config {path}");
        self.file_name = path;
        let text = match fs::read_to_string(&self.file_name) {
            Ok(text) => text,
            Err(reason) => {
                self.problems.push(Problem { subject, reason: format!("cannot be read: {reason}") });
                return BTreeMap::new();
            }
        };
        let table: toml::Table = match toml::from_str(&text) {
            Ok(table) => table,
            Err(error) => {
                // The error's own text quotes the line, which may hold a secret.
                let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
                let reason = format!("line {line} is not TOML: {}", error.message());
                self.problems.push(Problem { subject, reason });
                return BTreeMap::new();
            }
        };
        let known = table::all();
        let mut values = BTreeMap::new();
        for (key, value) in table {
            let subject = format!("{key} in {}", self.file_name);
            if !known.iter().any(|row| row.stands_in_file() && row.key() == key) {
                let keys = known.iter().filter(|row| row.stands_in_file()).map(Row::key);
                let reason = format!("is not an option{}", suggestion(&key, keys));
                self.problems.push(Problem { subject, reason });
            } else if let Some(text) = scalar(&value) {
                values.insert(key, text);
            } else {
                let reason = "must be a text, a whole number, true or false, or a list of texts".to_owned();
                self.problems.push(Problem { subject, reason });
            }
        }
        values
    }

    fn row(&self, name: &str) -> Option<Row> {
        self.rows.iter().find(|row| row.name == name).copied()
    }

    /// The value of an option, if there is one and it is right.
    pub(super) fn may<T: Value>(&mut self, name: &'static str) -> Option<T> {
        let kind = self.row(name)?.kind;
        match T::read(&self.given.get(name)?.text, kind) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.refuse(name, reason);
                None
            }
        }
    }

    /// The value of an option that has a default. Where it is wrong, the refusal is noted, and the stand-in returned here
    /// goes nowhere.
    pub(super) fn must<T: Value + Default>(&mut self, name: &'static str) -> T {
        self.may(name).unwrap_or_default()
    }

    /// Whether the option was given, by whatever source but its default.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.given.get(name).is_some_and(|given| given.source != Source::Default)
    }

    /// Notes that the value of an option is wrong.
    pub(super) fn refuse(&mut self, name: &'static str, reason: impl Into<String>) {
        let origin = match (self.row(name), self.given.get(name)) {
            (Some(row), Some(given)) if given.source != Source::Flag => format!(" ({})", self.origin(row, given)),
            _ => String::new(),
        };
        self.problems.push(Problem { subject: format!("--{name}{origin}"), reason: reason.into() });
        self.doubtful.push(name);
    }

    /// Notes a contradiction between options, the first of which is blamed; not where one of them is wrong by itself.
    pub(super) fn demand(&mut self, names: &[&'static str], agreed: bool, reason: impl Into<String>) {
        let Some(blamed) = names.first() else { return };
        if !agreed && !names.iter().any(|name| self.doubtful.contains(name)) {
            self.refuse(blamed, reason);
        }
    }

    /// A value where all are right; otherwise everything that is wrong.
    pub(super) fn conclude<T>(self, value: Option<T>) -> Result<T, Vec<Problem>> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(self.problems),
        }
    }

    /// Each option with its value and its source, as a file could hold it, with secrets masked.
    pub(super) fn describe(&self) -> Vec<String> {
        self.rows.iter().filter(|row| row.stands_in_file()).map(|row| self.line(*row)).collect()
    }

    fn line(&self, row: Row) -> String {
        let Some(given) = self.given.get(row.name) else { return format!("# {} is not given", row.key()) };
        let value = match row.kind {
            Kind::Count(..) | Kind::Switch => given.text.clone(),
            Kind::Secret => quoted(MASK),
            Kind::Url => quoted(&SecretUrl::read(&given.text, row.kind).map_or(MASK.to_owned(), |url| url.to_string())),
            _ => quoted(&given.text),
        };
        format!("{:<48} # {}", format!("{} = {value}", row.key()), self.origin(row, given))
    }

    fn origin(&self, row: Row, given: &Given) -> String {
        match given.source {
            Source::Flag => row.flag(),
            Source::Environment => row.variable(),
            Source::File => format!("{} in {}", row.key(), self.file_name),
            Source::Default => "default".to_owned(),
        }
    }
}

/// As TOML writes a text, which is as JSON does.
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

/// A sentence for each variable that looks like one of ours and is none: a warning, because an orchestrator may set such
/// variables by itself.
pub(super) fn strangers(environment: &Environment) -> Vec<String> {
    let known: Vec<_> = table::all().iter().map(Row::variable).collect();
    let ours = environment.keys().map(|name| name.to_string_lossy().into_owned());
    ours.filter(|name| name.starts_with(PREFIX) && !known.contains(name) && !is_service_link(name))
        .map(|name| format!("{name} is not an option{}", suggestion(&name, known.iter().cloned())))
        .collect()
}

/// Kubernetes tells each container where its neighbours are, and a neighbour may be called like us.
fn is_service_link(name: &str) -> bool {
    ["PORT", "SERVICE_HOST", "SERVICE_PORT"].iter().any(|link| {
        name.strip_prefix(PREFIX)
            .and_then(|name| name.strip_prefix(link))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    })
}

fn suggestion(name: &str, known: impl Iterator<Item = String>) -> String {
    let nearest = known.map(|known| (distance(name, &known), known)).min();
    match nearest {
        Some((distance, known)) if distance * 4 <= name.len() => format!("; did you mean {known}?"),
        _ => String::new(),
    }
}

/// How many letters must be added, dropped or changed to make one of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, a) in one.bytes().enumerate() {
        let mut next = vec![row + 1];
        for (column, b) in other.bytes().enumerate() {
            let changed = last[column] + usize::from(a != b);
            next.push(changed.min(last[column + 1] + 1).min(next[column] + 1));
        }
        last = next;
    }
    last[other.len()]
}
