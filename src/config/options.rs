//! What an option is: the row of `table` from which its flag, its environment variable, its key in the file, its line in
//! `--help` and its line in `docs/configuration.md` are made.

use std::time::Duration;

use super::values::show_duration;

/// What an option takes, and within which bounds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Address,
    AddressOrOff,
    /// The words, with bars between them.
    Choice(&'static str),
    Count(u64, u64),
    Duration(Duration, Duration),
    Origins,
    Path,
    Secret,
    Switch,
    Text,
    Url,
}

/// An option.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// The subcommand that the option belongs to, as variables and keys say it; empty for the service's own.
    pub(super) scope: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Empty: there is none.
    pub(super) default: &'static str,
    pub(super) help: &'static str,
}

/// Options under one heading.
pub(super) struct Group {
    pub(super) heading: &'static str,
    pub(super) rows: &'static [Row],
}

/// What the name of each of our environment variables begins with.
pub(super) const PREFIX: &str = "BOXOFFICE_";

impl Row {
    /// `--max-message-bytes`
    pub(super) fn flag(&self) -> String {
        format!("--{}", self.name)
    }

    /// `max_message_bytes`: the key in the file.
    pub(super) fn key(&self) -> String {
        let joint = if self.scope.is_empty() { "" } else { "_" };
        format!("{}{joint}{}", self.scope, self.name.replace('-', "_"))
    }

    /// `BOXOFFICE_MAX_MESSAGE_BYTES`
    pub(super) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.key().to_uppercase())
    }

    /// Whether a file can hold it: all but the name of the file itself.
    pub(super) fn stands_in_file(&self) -> bool {
        self.name != "config"
    }

    /// The help, with the bounds where there are any.
    pub(super) fn explanation(&self) -> String {
        match self.kind {
            Kind::Count(least, most) => format!("{} ({least} to {most})", self.help),
            Kind::Duration(least, most) => {
                format!("{} ({} to {})", self.help, show_duration(least), show_duration(most))
            }
            Kind::Choice(words) => format!("{} ({})", self.help, words.replace('|', ", ")),
            _ => self.help.to_owned(),
        }
    }
}

impl Kind {
    /// How help calls a value of this kind.
    pub(super) fn placeholder(self) -> &'static str {
        match self {
            Self::Address => "ADDRESS:PORT",
            Self::AddressOrOff => "ADDRESS:PORT|off",
            Self::Choice(words) => words,
            Self::Count(..) => "NUMBER",
            Self::Duration(..) => "DURATION",
            Self::Origins => "ORIGIN",
            Self::Path => "PATH",
            Self::Secret => "SECRET",
            Self::Switch => "true|false",
            Self::Text => "TEXT",
            Self::Url => "URL",
        }
    }
}
