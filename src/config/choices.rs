//! Values that are one of a few words.

use super::values::{Form, Value};

/// Declares an enum of which each variant is written as one word.
macro_rules! choices {
    (
        $(#[$about:meta])*
        $name:ident {
            $(#[$first_doc:meta])* $first:ident = $first_word:literal,
            $($(#[$doc:meta])* $variant:ident = $word:literal,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $(#[$first_doc])* $first,
            $($(#[$doc])* $variant,)*
        }

        impl Value for $name {
            type Bounds = ();
            const PLACEHOLDER: &'static str = concat!($first_word, $("|", $word),*);

            fn explain((): &()) -> String {
                Self::PLACEHOLDER.replace('|', ", ")
            }

            fn read(text: &str, (): &()) -> Result<Self, String> {
                choose(text, &[($first_word, Self::$first), $(($word, Self::$variant)),*])
            }
        }
    };
}

choices! {
    /// When the schema is brought up to date.
    Migrate {
        /// At each start.
        Auto = "auto",
        /// Only by the subcommand `migrate`.
        Manual = "manual",
    }
}

choices! {
    /// How console lines are written.
    LogFormat {
        /// As text for people.
        Human = "human",
        /// As one JSON object per line.
        Json = "json",
    }
}

choices! {
    /// Who may have accessible seats, and the companion seats beside them.
    AccessibleSeats {
        /// Everybody.
        Open = "open",
        /// Those who ask for them, and everybody shortly before the start.
        OnRequest = "on_request",
    }
}

choices! {
    /// Whether sample auditoriums and showtimes are created.
    Sample {
        /// Only by a service whose database and movie provider are the built-in ones.
        Auto = "auto",
        /// Always.
        On = "on",
        /// Never.
        Off = "off",
    }
}

choices! {
    /// Whether a reservation may leave a free seat without a free neighbour where another choice would not.
    OrphanSeats {
        /// It may.
        Allow = "allow",
        /// Such a reservation is refused.
        Refuse = "refuse",
    }
}

impl Value for bool {
    type Bounds = ();
    const FORM: Form = Form::Switch;
    const PLACEHOLDER: &'static str = "true|false";

    fn read(text: &str, (): &()) -> Result<Self, String> {
        choose(text, &[("true", true), ("false", false)])
    }
}

fn choose<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let allowed: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("\"{text}\" is not one of {}", allowed.join(", "))
    })
}
