//! Pages of lists: how large, and where they go on.
//!
//! A page token is the place of the last item, signed together with the list's name and filter. It can be neither made
//! up nor used with another filter, and needs no memory on our side.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::domain::violations::Violations;

/// A page of unstated size.
const DEFAULT_SIZE: usize = 50;
/// A larger page is cut to this.
const MAX_SIZE: usize = 200;
/// Bytes of the signature that a token carries.
const SIGNATURE: usize = 16;

/// Which page somebody asks for.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// How many items at the most; 0 for the default.
    pub size: i32,
    /// Where to go on, or nothing for the first page.
    pub token: String,
}

impl PageRequest {
    /// The size as it will be.
    ///
    /// # Errors
    /// Says, under `page_size`, that it must not be negative.
    pub(super) fn limit(&self) -> Result<usize, Violations> {
        match usize::try_from(self.size) {
            Ok(0) => Ok(DEFAULT_SIZE),
            Ok(size) => Ok(size.min(MAX_SIZE)),
            Err(_) => Err(Violations::one("page_size", "must not be negative")),
        }
    }
}

/// Makes and reads page tokens.
pub(super) struct Pages(Hmac<Sha256>);

impl Pages {
    pub(super) fn new(key: &[u8]) -> Self {
        // Of the two ways to make it, the one that takes keys of any length cannot fail; the type does not say so.
        #[expect(clippy::expect_used, reason = "an HMAC takes a key of any length")]
        Self(Hmac::new_from_slice(key).expect("an HMAC takes a key of any length"))
    }

    /// The token for what comes after `place` in this list with this filter.
    pub(super) fn token(&self, list: &str, filter: &str, place: &[u8]) -> String {
        BASE64.encode([place, &self.sign(list, filter, place)].concat())
    }

    /// The place that a token stands for; none for the first page.
    ///
    /// # Errors
    /// Says, under `page_token`, that the token is not one of ours for this list and filter.
    pub(super) fn place(&self, list: &str, filter: &str, token: &str) -> Result<Option<Vec<u8>>, Violations> {
        if token.is_empty() {
            return Ok(None);
        }
        let genuine = || {
            let mut place = BASE64.decode(token).ok()?;
            let signature = place.split_off(place.len().checked_sub(SIGNATURE)?);
            let mut mac = self.0.clone();
            update(&mut mac, list, filter, &place);
            mac.verify_truncated_left(&signature).ok()?;
            Some(place)
        };
        match genuine() {
            Some(place) => Ok(Some(place)),
            None => Err(Violations::one("page_token", "must come from the page before, with the same filter")),
        }
    }

    fn sign(&self, list: &str, filter: &str, place: &[u8]) -> [u8; SIGNATURE] {
        let mut mac = self.0.clone();
        update(&mut mac, list, filter, place);
        let mut signature = [0; SIGNATURE];
        signature.copy_from_slice(&mac.finalize().into_bytes()[..SIGNATURE]);
        signature
    }
}

/// Each part with its length before it, so that no two triples read the same.
fn update(mac: &mut Hmac<Sha256>, list: &str, filter: &str, place: &[u8]) {
    for part in [list.as_bytes(), filter.as_bytes(), place] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
}
