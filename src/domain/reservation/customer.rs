//! Customers, by the ids that callers give them.

use std::{fmt, sync::Arc};

use unicode_normalization::{UnicodeNormalization as _, is_nfc};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

use crate::domain::violations::{Violations, printable};

/// The most characters of a customer id.
pub const MAX_CUSTOMER: usize = 128;

/// Characters that are not seen although their category is that of letters, marks or symbols.
const UNSEEN: [std::ops::RangeInclusive<char>; 9] = [
    '\u{34f}'..='\u{34f}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{e0000}'..='\u{e0fff}',
];

/// A caller's own id for a customer, in Unicode's normalisation form C (NFC).
///
/// Ids are equal if their normalised forms are: "é" as one character and "e" with an accent are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CustomerId(Arc<str>);

impl CustomerId {
    /// Checks a customer id that a caller wrote, and normalises it.
    ///
    /// # Errors
    /// Names what is wrong with it, under an empty path.
    pub fn parse(text: &str) -> Result<Self, Violations> {
        printable(text, MAX_CUSTOMER)?;
        if let Some(unseen) = text.chars().find(|character| is_unseen(*character)) {
            let code = u32::from(unseen);
            let what = format!("must have no invisible or bidirectional characters, such as U+{code:04X}");
            return Err(Violations::one("", what));
        }
        let normalised = Self::restore(text);
        // Some characters become several.
        printable(normalised.as_str(), MAX_CUSTOMER)?;
        Ok(normalised)
    }

    /// A customer id that was stored. Earlier versions stored ids in other forms and with invisible characters, so it is
    /// normalised, and not checked.
    #[must_use]
    pub fn restore(text: &str) -> Self {
        if is_nfc(text) { Self(text.into()) } else { Self(text.nfc().collect::<String>().into()) }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a character is not seen, changes the direction of others, or is private use or unassigned.
fn is_unseen(character: char) -> bool {
    let by_category = matches!(
        character.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::PrivateUse
            | GeneralCategory::Surrogate
            | GeneralCategory::Unassigned
    );
    by_category || UNSEEN.iter().any(|range| range.contains(&character))
}
