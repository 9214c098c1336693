//! What is known of an option besides its value: its names, its default, its help.

use super::values::Form;

/// What the name of each environment variable begins with.
pub(super) const PREFIX: &str = "BOXOFFICE_";

/// An option. The macro `options!` makes one from each field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// The heading above it in `--help`.
    pub(super) heading: &'static str,
    /// The subcommand in front of the option's name in variables and keys; empty for options of the service.
    pub(super) scope: &'static str,
    /// The name of the field, such as `max_message_bytes`.
    pub(super) name: &'static str,
    /// The default, as a user would write it. It is empty if there is none.
    pub(super) default: &'static str,
    /// The field's doc comment.
    pub(super) comment: &'static str,
    pub(super) form: Form,
    pub(super) placeholder: &'static str,
    /// The bounds in words; empty if there are none.
    pub(super) bounds: fn() -> String,
}

impl Row {
    /// `max-message-bytes`
    pub(super) fn long(&self) -> String {
        self.name.replace('_', "-")
    }

    /// `--max-message-bytes`
    pub(super) fn flag(&self) -> String {
        format!("--{}", self.long())
    }

    /// `max_message_bytes`: the key in the file.
    pub(super) fn key(&self) -> String {
        let joint = if self.scope.is_empty() { "" } else { "_" };
        format!("{}{joint}{}", self.scope, self.name)
    }

    /// `BOXOFFICE_MAX_MESSAGE_BYTES`
    pub(super) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.key().to_uppercase())
    }

    /// The help in Markdown: the comment without its full stop, and the bounds.
    pub(super) fn reference(&self) -> String {
        let comment = self.comment.trim();
        let comment = comment.strip_suffix('.').unwrap_or(comment);
        match (self.bounds)() {
            bounds if bounds.is_empty() => comment.to_owned(),
            bounds => format!("{comment} ({bounds})"),
        }
    }

    /// The help as `--help` prints it.
    pub(super) fn help(&self) -> String {
        self.reference().replace('`', "")
    }
}
