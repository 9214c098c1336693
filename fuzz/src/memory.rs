//! Counts and limits the memory of the Rust code. libFuzzer counts the whole process, which also has its corpus and SQLite.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The most bytes of one allocation. Requests have at most some kilobytes here, and a page of a list has 200 showtimes.
const MAX_ALLOCATION: usize = 16 << 20;
/// The most bytes that may be allocated at once while one request is answered.
const MAX_REQUEST: usize = 32 << 20;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator with a count.
pub struct Counting;

impl Counting {
    fn add(bytes: usize) {
        if bytes > MAX_ALLOCATION {
            eprintln!("an allocation of {bytes} bytes");
            std::process::abort();
        }
        PEAK.fetch_max(LIVE.fetch_add(bytes, Relaxed) + bytes, Relaxed);
    }
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::add(size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Bytes that are allocated now.
#[must_use]
pub fn live() -> usize {
    LIVE.load(Relaxed)
}

/// Runs `work`, which may allocate at most 32 MiB at once.
pub fn limited<T>(work: impl FnOnce() -> T) -> T {
    let before = live();
    PEAK.store(before, Relaxed);
    let done = work();
    let used = PEAK.load(Relaxed).saturating_sub(before);
    assert!(used <= MAX_REQUEST, "one request took {used} bytes at once");
    done
}

/// Resident memory of the process in KiB, as Linux reports it; 0 elsewhere.
#[must_use]
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
