//! The macros that declare options: `options!` for a group of them, `sections!` for what a subcommand takes.
//!
//! A declaration is an ordinary struct with public fields, which the rest of the program reads. The macro adds two things.
//! One is a constant per option, called like the field: `Limits::request_timeout` is the option (its flag, its help, ...),
//! `limits.request_timeout` its value. The other is the implementation of `Section`.

use super::{row::Row, sources::Settings};

/// Options that belong together.
pub(super) trait Section: Sized {
    /// The options, in the order in which help lists them.
    fn rows() -> Vec<Row>;

    /// Reads all values. What is wrong is noted in `settings`, and the option's default takes its place.
    fn read(settings: &mut Settings) -> Self;
}

/// Declares a group of options. A field is an option:
///
/// ```text
/// pub struct Limits under "Limits" {
///     /// Deadline of a request whose caller states none.
///     request_timeout: Duration = "5s" in MILLISECOND..=HOUR,
/// ```
///
/// - `under` gives the heading in `--help`; `for "demo"` behind it puts `demo` in front of variables and keys.
/// - The doc comment is the help. It is printed without the full stop at its end and without backticks.
/// - The name is the flag with underscores: `--request-timeout`, `BOXOFFICE_REQUEST_TIMEOUT`, and `request_timeout` in the
///   file.
/// - The type says how values are written, see `values.rs`. `Option` makes an option that can be left out.
/// - The default, if there is one, is written as a user would write it.
/// - The range after `in` is mandatory for numbers and lengths of time.
macro_rules! options {
    ($(
        $(#[$about:meta])*
        $visibility:vis struct $group:ident under $heading:literal $(for $scope:literal)? {
            $($(#[doc = $comment:literal])+ $option:ident : $value:ty $(= $default:literal $(in $bounds:expr)?)?,)+
        }
    )+) => {$(
        $(#[$about])*
        #[derive(Clone, Debug)]
        $visibility struct $group {
            $($(#[doc = $comment])+ $visibility $option: $value,)+
        }

        #[expect(non_upper_case_globals, reason = "an option is called like the field that holds its value")]
        impl $group {
            const SCOPE: &'static str = concat!($($scope)?);

            $(pub(super) const $option: Row = Row {
                heading: $heading,
                scope: Self::SCOPE,
                name: stringify!($option),
                default: concat!($($default)?),
                comment: concat!($($comment),+),
                form: <$value as Value>::FORM,
                placeholder: <$value as Value>::PLACEHOLDER,
                bounds: || <$value as Value>::explain(&($($($bounds)?)?)),
            };)+
        }

        impl Section for $group {
            fn rows() -> Vec<Row> {
                vec![$(Self::$option),+]
            }

            fn read(settings: &mut Settings) -> Self {
                Self { $($option: settings.get(&Self::$option, &($($($bounds)?)?)),)+ }
            }
        }
    )+};
}

/// Declares what a subcommand takes: groups of options.
macro_rules! sections {
    ($(
        $(#[$about:meta])*
        $visibility:vis struct $whole:ident {
            $($(#[$comment:meta])+ $part:ident : $group:ty,)+
        }
    )+) => {$(
        $(#[$about])*
        #[derive(Clone, Debug)]
        $visibility struct $whole {
            $($(#[$comment])+ $visibility $part: $group,)+
        }

        impl Section for $whole {
            fn rows() -> Vec<Row> {
                [$(<$group as Section>::rows()),+].concat()
            }

            fn read(settings: &mut Settings) -> Self {
                Self { $($part: <$group as Section>::read(settings),)+ }
            }
        }
    )+};
}

pub(super) use {options, sections};
