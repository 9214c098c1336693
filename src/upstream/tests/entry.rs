//! The keys of the cache and the stored bytes.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;

use super::{inception, unknown};
use crate::{
    domain::movie::Movie,
    upstream::{
        entry::{Content, Entry, Key},
        record,
    },
};

fn movie() -> Movie {
    Movie {
        movie_id: inception(),
        title: "Inception".to_owned(),
        full_title: "Inception (2010)".to_owned(),
        year: Some(2010),
        image_uri: "https://example.com/i.jpg".to_owned(),
        crew: "Christopher Nolan (dir.)".to_owned(),
        rating: Some(8.8),
        rating_count: Some(2_410_000),
        rank: None,
    }
}

fn entry(content: Content) -> Entry {
    Entry { fetch_time: DateTime::from_timestamp_micros(1_800_000_000_123_456).unwrap(), content }
}

#[test]
fn keys_are_short_and_depend_only_on_the_request() {
    assert_eq!(Key::Movie(inception()).to_string(), "boxoffice:v1:movie:tt1375666");
    assert_eq!(Key::search("  dark \t knight "), Key::search("dark knight"));
    assert_eq!(Key::search("dark knight").to_string(), "boxoffice:v1:search:dark knight");
    assert_eq!(Key::search("   ").to_string(), "boxoffice:v1:search:");
    let long = Key::search(&"é".repeat(100)).to_string();
    assert_eq!(long.len(), "boxoffice:v1:search:sha256-".len() + 64);
    assert_ne!(long, Key::search(&"e".repeat(100)).to_string());
}

#[test]
fn a_stored_entry_is_read_back() {
    let (one, many) = (Key::Movie(inception()), Key::search(""));
    for (key, content) in [
        (&one, Content::Movie(Arc::new(movie()))),
        (&one, Content::Absent),
        (&many, Content::Movies(Arc::new(vec![movie(), Movie { movie_id: unknown(), ..movie() }]))),
        (&many, Content::Movies(Arc::default())),
    ] {
        let entry = entry(content);
        assert_eq!(record::decode(key, &record::encode(&entry)), Some(entry));
    }
}

#[test]
fn bytes_that_are_no_entry_are_a_miss() {
    let key = Key::Movie(inception());
    let list = entry(Content::Movies(Arc::new(vec![movie(), movie()])));
    for bytes in [&b""[..], b"garbage", b"{\"id\":\"tt1375666\"}", &record::encode(&list)] {
        assert_eq!(record::decode(&key, bytes), None);
    }
}

#[test]
fn an_entry_with_a_fetch_time_in_the_future_does_not_stay_fresh() {
    let entry = entry(Content::Absent);
    let hour = TimeDelta::hours(1);
    assert_eq!(entry.age(entry.fetch_time + hour), hour.to_std().unwrap());
    assert_eq!(entry.age(entry.fetch_time - hour), hour.to_std().unwrap());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = record::decode(&Key::Movie(inception()), &bytes);
        let _ = record::decode(&Key::search(""), &bytes);
    }
}
