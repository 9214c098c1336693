//! Pages of showtimes: shared by callers who ask for the same one, encoded once, and encoded again only after a change.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use moka::sync::Cache;

use super::shared_reads::SharedReads;
use crate::domain::showtime::Showtime;

/// About what the last pages may take in all.
const LAST_PAGES_BYTES: u64 = 16 << 20;
/// About what a page takes without its showtimes.
const PAGE_BYTES: u32 = 512;
/// About what a showtime takes in a page, in its encoded form too.
const SHOWTIME_BYTES: u32 = 640;
/// About what each further ticket type of it takes.
const TICKET_TYPE_BYTES: u32 = 250;

/// A page of showtimes. Callers who ask for the same page at the same time share it.
#[derive(Debug)]
pub struct ShowtimePage {
    /// The showtimes, by start time and id.
    pub showtimes: Vec<Showtime>,
    /// The token of the next page, empty on the last one.
    pub next: String,
    encoded: OnceLock<Bytes>,
}

impl ShowtimePage {
    /// The encoded form, made by `encode` for the first caller and shared by the others.
    pub fn encoded(&self, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.encoded.get_or_init(|| encode(self)).clone()
    }

    /// Whether a page that was read later shows the same.
    pub(super) fn shows(&self, showtimes: &[Showtime], more: bool) -> bool {
        let same =
            |one: &Showtime, other: &Showtime| Arc::ptr_eq(&one.facts, &other.facts) && one.standing == other.standing;
        more != self.next.is_empty()
            && self.showtimes.len() == showtimes.len()
            && self.showtimes.iter().zip(showtimes).all(|(one, other)| same(one, other))
    }
}

/// Which page is asked for: the filter as text, the token of the page and its size.
pub(super) type PageKey = (String, String, usize);

/// The pages of showtimes that are being read, and those that were read last.
pub(super) struct ShowtimePages {
    pub(super) reads: SharedReads<PageKey, Arc<ShowtimePage>>,
    /// The last answer for each page. It is answered again only after a read has shown the same, which spares the encoding.
    last: Cache<PageKey, Arc<ShowtimePage>>,
}

impl ShowtimePages {
    pub(super) fn new() -> Self {
        let further = |showtime: &Showtime| showtime.facts.prices.ticket_types.len().saturating_sub(1) as u32;
        let weigh = move |_: &PageKey, page: &Arc<ShowtimePage>| {
            let further: u32 = page.showtimes.iter().map(further).sum();
            PAGE_BYTES + page.showtimes.len() as u32 * SHOWTIME_BYTES + further * TICKET_TYPE_BYTES
        };
        let last = Cache::builder().max_capacity(LAST_PAGES_BYTES).weigher(weigh).build();
        Self { reads: SharedReads::new(), last }
    }

    /// The last answer for a page.
    pub(super) fn last(&self, key: &PageKey) -> Option<Arc<ShowtimePage>> {
        self.last.get(key)
    }

    /// Makes a page of what was read, and keeps it as the last answer.
    pub(super) fn keep(&self, key: &PageKey, showtimes: Vec<Showtime>, next: String) -> Arc<ShowtimePage> {
        let page = Arc::new(ShowtimePage { showtimes, next, encoded: OnceLock::new() });
        self.last.insert(key.clone(), Arc::clone(&page));
        page
    }
}
