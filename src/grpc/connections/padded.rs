//! A value with a cache line of its own.

use std::ops::Deref;

/// Keeps a value that several processors change out of the cache lines of other values: reading those would wait for each
/// change.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Padded<T>(T);

impl<T> Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
