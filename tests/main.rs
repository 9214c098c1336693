//! The promises, as tests.
