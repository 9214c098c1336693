//! Boxoffice sells cinema seats and never sells one twice.
pub mod pb;
