//! Invalid fields, failures in band, and which errors are retried.

use std::time::Duration;

use prost::Message as _;
use tonic::{Code, Status};

use crate::{
    domain::movie::MovieId,
    pb::movies::{MoviesApiException, ResponseModel, ShowListResponse, ShowResponse},
    upstream::{
        entry::{Content, Key},
        wire::{self, AttemptError, MAX_MOVIES},
    },
};

fn show(change: impl FnOnce(&mut ShowResponse)) -> ShowResponse {
    let mut show =
        ShowResponse { id: "tt1375666".to_owned(), title: "Inception".to_owned(), ..ShowResponse::default() };
    change(&mut show);
    show
}

fn movie_key() -> Key {
    Key::Movie(MovieId::parse("tt1375666").unwrap())
}

fn success(type_url: &str, value: Vec<u8>) -> ResponseModel {
    let data = prost_types::Any { type_url: type_url.to_owned(), value };
    ResponseModel { success: true, data: Some(data), exceptions: Vec::new() }
}

fn failure(codes: &[i32]) -> ResponseModel {
    let exceptions = codes.iter().map(|code| MoviesApiException { message: String::new(), status_code: *code });
    ResponseModel { success: false, data: None, exceptions: exceptions.collect() }
}

#[test]
fn numbers_are_read_in_every_notation() {
    let ratings = [("8.8", Some(8.8)), ("8,8", Some(8.8)), (" 9 ", Some(9.0)), ("", None), ("N/A", None)];
    let wild = [("11", None), ("-1", None), ("NaN", None), ("inf", None), ("1,2,3", None)];
    for (raw, rating) in ratings.into_iter().chain(wild) {
        assert_eq!(wire::movie(&show(|show| show.im_db_rating = raw.to_owned())).unwrap().rating, rating, "{raw}");
    }
    let plain = [("2315432", Some(2_315_432)), ("0", Some(0)), ("", None), ("-5", None), ("2.3M", None), ("1.5", None)];
    let grouped = [("1,234,567", Some(1_234_567)), ("1.234.567", Some(1_234_567)), ("1 234 567", Some(1_234_567))];
    let broken = [("1,23", None), (",123", None), ("123,", None), ("99999999999999999999", None)];
    for (raw, count) in plain.into_iter().chain(grouped).chain(broken) {
        let movie = wire::movie(&show(|show| show.im_db_rating_count = raw.to_owned())).unwrap();
        assert_eq!(movie.rating_count, count, "{raw}");
    }
    for (raw, year) in [("2010", Some(2010)), ("", None), ("20100", None), ("MMX", None), ("99999999999", None)] {
        assert_eq!(wire::movie(&show(|show| show.year = raw.to_owned())).unwrap().year, year, "{raw}");
    }
    for (raw, rank) in [("13", Some(13)), ("0", None), ("-1", None), ("", None)] {
        assert_eq!(wire::movie(&show(|show| show.rank = raw.to_owned())).unwrap().rank, rank, "{raw}");
    }
}

#[test]
fn texts_are_bounded_and_free_of_control_characters() {
    let long = wire::movie(&show(|show| show.title = "é".repeat(100_000))).unwrap();
    assert_eq!(long.title.chars().count(), 1_000);
    let odd = wire::movie(&show(|show| show.crew = " a\nb\u{1b}[31m ".to_owned())).unwrap();
    assert_eq!(odd.crew, "a b [31m");
    for (raw, valid) in [
        ("https://example.com/a.jpg", true),
        ("javascript:alert(1)", false),
        ("https://example.com/a b", false),
        ("/a.jpg", false),
    ] {
        let movie = wire::movie(&show(|show| show.image = raw.to_owned())).unwrap();
        assert_eq!(movie.image_uri, if valid { raw } else { "" });
    }
    assert!(wire::movie(&show(|show| show.id = "no such id".to_owned())).is_none());
}

#[test]
fn data_is_recognised_by_the_last_part_of_its_type() {
    let bytes = show(|_| {}).encode_to_vec();
    for url in ["type.googleapis.com/movies.showResponse", "x/showResponse", "showResponse", "/other.showResponse"] {
        let content = wire::from_answer(&movie_key(), &success(url, bytes.clone())).unwrap();
        assert!(matches!(content, Content::Movie(movie) if movie.title == "Inception"), "{url}");
    }
    for url in ["", "type.googleapis.com/movies.showListResponse", "showResponse/"] {
        assert!(
            matches!(wire::from_answer(&movie_key(), &success(url, bytes.clone())), Err(AttemptError::Invalid(_))),
            "{url}"
        );
    }
}

#[test]
fn invalid_answers_are_failures() {
    let url = "type.googleapis.com/movies.showResponse";
    let other = show(|show| show.id = "tt0000001".to_owned()).encode_to_vec();
    for answer in [
        success(url, vec![0xff; 9]),
        success(url, Vec::new()),
        success(url, other),
        ResponseModel { success: true, data: None, exceptions: Vec::new() },
    ] {
        assert!(matches!(wire::from_answer(&movie_key(), &answer), Err(AttemptError::Invalid(_))));
    }
}

#[test]
fn a_list_is_bounded_and_movies_without_id_are_skipped() {
    let shows =
        (0..=MAX_MOVIES * 2).map(|n| show(|show| show.id = if n % 2 == 0 { String::new() } else { format!("tt{n}") }));
    let bytes = ShowListResponse { shows: shows.chain([show(|_| {})]).collect() }.encode_to_vec();
    let content = wire::from_answer(&Key::search(""), &success("t/movies.showListResponse", bytes)).unwrap();
    assert!(
        matches!(content, Content::Movies(movies) if movies.len() == MAX_MOVIES && movies[0].movie_id.as_str() == "tt1")
    );
}

#[test]
fn not_found_is_accepted_only_if_no_other_error_is_reported() {
    let read = |codes: &[i32]| wire::from_answer(&movie_key(), &failure(codes));
    assert_eq!(read(&[404]).unwrap(), Content::Absent);
    assert_eq!(read(&[404, 404]).unwrap(), Content::Absent);
    assert!(matches!(read(&[404, 500]), Err(AttemptError::InBand(500))));
    assert!(matches!(read(&[]), Err(AttemptError::InBand(0))));
    let none = wire::from_answer(&Key::search("x"), &failure(&[404])).unwrap();
    assert!(matches!(none, Content::Movies(movies) if movies.is_empty()));
}

#[test]
fn each_failure_is_retried_and_counted_as_its_code_demands() {
    let status = |code| wire::from_status(&movie_key(), &Status::new(code, ""), Duration::ZERO);
    assert_eq!(status(Code::NotFound).unwrap(), Content::Absent);
    // The code, whether it is retried, and whether it counts for the circuit breaker.
    for (code, is_retryable, is_outage) in [
        (Code::Unavailable, true, true),
        (Code::DeadlineExceeded, true, true),
        (Code::Cancelled, true, true),
        (Code::Internal, true, true),
        (Code::Unknown, true, true),
        (Code::ResourceExhausted, true, true),
        (Code::Unauthenticated, false, true),
        (Code::PermissionDenied, false, true),
        (Code::Unimplemented, false, true),
        (Code::InvalidArgument, false, false),
        (Code::OutOfRange, false, false),
    ] {
        let error = status(code).unwrap_err();
        assert_eq!((error.is_retryable(), error.is_outage()), (is_retryable, is_outage), "{code:?}");
    }
    for (code, is_retryable, is_outage) in [
        (500, true, true),
        (503, true, true),
        (0, true, true),
        (429, true, true),
        (400, false, false),
        (401, false, true),
    ] {
        let error = wire::from_answer(&movie_key(), &failure(&[code])).unwrap_err();
        assert_eq!((error.is_retryable(), error.is_outage()), (is_retryable, is_outage), "{code}");
    }
}
