//! The promises, as tests: one file per kind of promise, each test named after what it holds.

#![expect(clippy::expect_used, reason = "a test says what it expected by panicking")]

mod tidy;
