//! Pages of lists: their sizes and tokens.
//!
//! A page token is the cursor of the page's last item, signed together with the list's name and filter. It cannot be forged
//! or used with another filter, and the server stores nothing.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uuid::Uuid;

use crate::domain::violations::Violations;

/// The size of a page if none is given.
const DEFAULT_SIZE: usize = 50;
/// The most items of a page. A larger size means this one.
const MAX_SIZE: usize = 200;
/// Bytes of the signature that a token carries.
const SIGNATURE: usize = 16;

/// The page that a request names.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// The most items; 0 means 50.
    pub size: i32,
    /// The token of the page. It is empty for the first one.
    pub token: String,
}

impl PageRequest {
    /// The most items of the page.
    ///
    /// # Errors
    /// A violation of `page_size`: the size is negative.
    pub(super) fn limit(&self) -> Result<usize, Violations> {
        match usize::try_from(self.size) {
            Ok(0) => Ok(DEFAULT_SIZE),
            Ok(size) => Ok(size.min(MAX_SIZE)),
            Err(_) => Err(Violations::one("page_size", "must not be negative")),
        }
    }
}

/// Makes and reads page tokens.
#[derive(Clone)]
pub(super) struct Pages(Hmac<Sha256>);

impl Pages {
    pub(super) fn new(key: &[u8]) -> Self {
        #[expect(clippy::expect_used, reason = "an HMAC takes a key of any length")]
        Self(Hmac::new_from_slice(key).expect("an HMAC takes a key of any length"))
    }

    /// The token of the page that begins after `cursor` in this list with this filter.
    pub(super) fn token(&self, list: &str, filter: &str, cursor: &[u8]) -> String {
        BASE64.encode([cursor, &self.sign(list, filter, cursor)].concat())
    }

    /// Takes away what was read beyond the page, and returns the token of the next page. It is empty if there is none.
    pub(super) fn cut<T, C: AsRef<[u8]>>(
        &self,
        (list, filter): (&str, &str),
        found: &mut Vec<T>,
        limit: usize,
        cursor: impl FnOnce(&T) -> C,
    ) -> String {
        let more = found.len() > limit;
        found.truncate(limit);
        match found.last() {
            Some(item) if more => self.token(list, filter, cursor(item).as_ref()),
            _ => String::new(),
        }
    }

    /// The cursor in a token. `None`: the token is empty, which means the first page.
    ///
    /// # Errors
    /// A violation of `page_token`: the token was not made for this list and filter.
    pub(super) fn cursor(&self, list: &str, filter: &str, token: &str) -> Result<Option<Vec<u8>>, Violations> {
        if token.is_empty() {
            return Ok(None);
        }
        let genuine = || {
            let mut cursor = BASE64.decode(token).ok()?;
            let signature = cursor.split_off(cursor.len().checked_sub(SIGNATURE)?);
            let mut mac = self.0.clone();
            update(&mut mac, list, filter, &cursor);
            mac.verify_truncated_left(&signature).ok()?;
            Some(cursor)
        };
        match genuine() {
            Some(cursor) => Ok(Some(cursor)),
            None => Err(Violations::one("page_token", "must come from the page before, with the same filter")),
        }
    }

    fn sign(&self, list: &str, filter: &str, cursor: &[u8]) -> [u8; SIGNATURE] {
        let mut mac = self.0.clone();
        update(&mut mac, list, filter, cursor);
        let mut signature = [0; SIGNATURE];
        signature.copy_from_slice(&mac.finalize().into_bytes()[..SIGNATURE]);
        signature
    }
}

/// The cursor of an item in a list that is ordered by a time and an id.
pub(super) fn write_timed(time: DateTime<Utc>, id: Uuid) -> Vec<u8> {
    let mut cursor = time.timestamp_micros().to_be_bytes().to_vec();
    cursor.extend_from_slice(id.as_bytes());
    cursor
}

/// The time and the id in such a cursor.
pub(super) fn read_timed(cursor: &[u8]) -> Option<(DateTime<Utc>, Uuid)> {
    let (time, id) = cursor.split_at_checked(8)?;
    let time = DateTime::from_timestamp_micros(i64::from_be_bytes(time.try_into().ok()?))?;
    Some((time, Uuid::from_slice(id).ok()?))
}

/// Each part with its length before it, so that no two triples have the same bytes.
fn update(mac: &mut Hmac<Sha256>, list: &str, filter: &str, cursor: &[u8]) {
    for part in [list.as_bytes(), filter.as_bytes(), cursor] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
}
