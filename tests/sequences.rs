//! Random sequences of showtimes that are scheduled and cancelled make no overlap, and the pages of any list join to the
//! whole list, over the wire and on both stores.

use boxoffice::pb::boxoffice::v1::{CancelShowtimeRequest, CreateShowtimeRequest, ListShowtimesRequest, Showtime};
use chrono::{DateTime, TimeDelta, Utc};
use proptest::{
    collection::{btree_set, vec},
    prelude::{Strategy, any},
    prop_oneof,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use tokio::runtime::{Builder, Runtime};
use tonic::{Code, Status};

use crate::harness::{
    Server, Store, World, assert_refused, assert_violates, create_auditorium, in_hours, new_showtime,
    requests::{ids, seconds},
    timestamp,
};

/// The default turnaround between two showtimes of one auditorium, in minutes.
const TURNAROUND: i64 = 15;
/// The number of cases for each property on each store.
const CASES: u32 = 12;

#[derive(Clone, Debug)]
enum Step {
    /// Schedules a showtime from this minute on, for this many minutes.
    Create(i64, i64),
    /// Cancels a showtime that was scheduled, cancelled or not.
    Cancel(Index),
}

#[test]
fn no_sequence_of_steps_makes_an_overlap_or_refuses_a_free_slot() {
    // There are few starts and lengths, so that slots often touch or overlap.
    let create = (0..40_i64, 1..12_i64).prop_map(|(start, length)| Step::Create(start * 15, length * 15));
    let step = prop_oneof![3 => create, 1 => any::<Index>().prop_map(Step::Cancel)];
    on_each_store(&vec(step, 1..40), |runtime, world, steps| runtime.block_on(check_steps(world, &steps)));
}

/// Takes the steps, and compares each answer with a model of the scheduled minutes.
async fn check_steps(world: &World, steps: &[Step]) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let mut made: Vec<(Showtime, std::ops::Range<i64>, bool)> = Vec::new();
    for step in steps {
        match step {
            Step::Create(start, length) => {
                let taken = *start..*start + length + TURNAROUND;
                let overlaps = |other: &std::ops::Range<i64>| taken.clone().any(|minute| other.contains(&minute));
                let overlapping: Vec<&str> = made
                    .iter()
                    .filter(|(_, other, scheduled)| *scheduled && overlaps(other))
                    .map(|(showtime, ..)| &*showtime.showtime_id)
                    .collect();
                match create(world, &auditorium, in_hours(0) + TimeDelta::minutes(*start), *length).await {
                    Ok(showtime) => {
                        assert!(overlapping.is_empty(), "{step:?} was accepted in {steps:?}");
                        made.push((showtime, taken, true));
                    }
                    Err(status) => {
                        let other = assert_refused(&status, Code::FailedPrecondition, "SHOWTIME_OVERLAPS");
                        let other = other.get("showtime_id").map(String::as_str).unwrap_or_default();
                        assert!(overlapping.contains(&other), "{step:?} is refused for {other} in {steps:?}");
                    }
                }
            }
            Step::Cancel(_) if made.is_empty() => {}
            Step::Cancel(index) => {
                let (showtime, _, scheduled) = index.get_mut(&mut made);
                let showtime_id = showtime.showtime_id.clone();
                let request = CancelShowtimeRequest {
                    showtime_id,
                    request_id: String::new(),
                    force: false,
                    expected_revision: 0,
                };
                let cancelled = world.showtimes().cancel_showtime(request).await;
                assert_eq!(cancelled.is_ok(), *scheduled, "{step:?} in {steps:?}: {cancelled:?}");
                *scheduled = false;
            }
        }
    }
    let mut expected: Vec<_> = made.into_iter().filter(|(.., scheduled)| *scheduled).map(|(it, ..)| it).collect();
    expected.sort_by_key(order);
    let request = ListShowtimesRequest { auditorium_id: auditorium, ..Default::default() };
    assert_eq!(page(world, request).await.expect("a list").0, expected);
}

#[test]
fn the_pages_of_any_list_join_to_the_whole_list() {
    // The auditorium and the hour of each showtime. Several start together, so that pages end between equal times.
    let starts = btree_set((0..3_usize, 0..5_i64), 0..14);
    let letter =
        select("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+ ".chars().collect::<Vec<_>>());
    let mut days = 0;
    on_each_store(&(starts, 1..16_i32, letter), |runtime, world, (starts, page_size, letter)| {
        // The days of one case are not used by another.
        days += 2;
        runtime.block_on(async {
            let from = in_hours(24 * days);
            let mut auditoriums = Vec::new();
            for _ in 0..3 {
                auditoriums.push(create_auditorium(world.auditoriums()).await.auditorium_id);
            }
            let mut expected = Vec::new();
            for (auditorium, slot) in starts {
                let start = from + TimeDelta::hours(3 * slot);
                expected.push(create(world, &auditoriums[auditorium], start, 120).await.expect("the slot is free"));
            }
            expected.sort_by_key(order);
            let request = ListShowtimesRequest {
                start_after: Some(timestamp(from)),
                start_before: Some(timestamp(from + TimeDelta::days(2))),
                page_size,
                ..Default::default()
            };
            let tokens = read_all_pages(world, request.clone(), &expected).await;
            if let Some(token) = tokens.last() {
                assert_forged_tokens_are_refused(world, &request, token, letter).await;
            }
        });
    });
}

/// Reads all pages and returns their tokens.
async fn read_all_pages(world: &World, mut request: ListShowtimesRequest, expected: &[Showtime]) -> Vec<String> {
    let (mut joined, mut tokens, size) = (Vec::new(), Vec::new(), usize::try_from(request.page_size).expect("a size"));
    loop {
        let (showtimes, token) = page(world, request.clone()).await.expect("a page");
        // Every page but the last is full, and an empty one is the only one.
        assert!(showtimes.len() == size || token.is_empty(), "{} of {size}", showtimes.len());
        assert!(!showtimes.is_empty() || expected.is_empty());
        joined.extend(showtimes);
        if token.is_empty() {
            assert_eq!(ids(&joined), ids(expected), "in pages of {size}");
            return tokens;
        }
        tokens.push(token.clone());
        request.page_token = token;
    }
}

/// A token with a character changed, added or removed is refused, and so is a valid one with another filter.
async fn assert_forged_tokens_are_refused(world: &World, request: &ListShowtimesRequest, token: &str, letter: char) {
    let mut forged: Vec<String> = (0..token.len())
        .filter(|at| !token[*at..].starts_with(letter))
        .map(|at| [&token[..at], &letter.to_string(), &token[at + 1..]].concat())
        .collect();
    forged.extend([format!("{token}{letter}"), token[1..].to_owned(), token[..token.len() - 1].to_owned()]);
    for page_token in forged {
        let request = ListShowtimesRequest { page_token: page_token.clone(), ..request.clone() };
        match page(world, request).await {
            Err(status) => assert_violates(&status, &["page_token"]),
            Ok(_) => panic!("{page_token} was made from {token} and accepted"),
        }
    }
    let page_token = token.to_owned();
    for other in [
        ListShowtimesRequest { start_before: None, page_token: page_token.clone(), ..request.clone() },
        ListShowtimesRequest { start_after: None, page_token: page_token.clone(), ..request.clone() },
        ListShowtimesRequest { include_cancelled: true, page_token, ..request.clone() },
    ] {
        assert_violates(&page(world, other).await.expect_err("another list"), &["page_token"]);
    }
}

/// Runs the cases with one server on SQLite and one on Postgres.
fn on_each_store<S: Strategy>(strategy: &S, mut run: impl FnMut(&Runtime, &World, S::Value)) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    for store in [Store::Sqlite, Store::Postgres] {
        let world = runtime.block_on(World::start(store));
        let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
        let run = std::cell::RefCell::new(&mut run);
        let result = TestRunner::new(config).run(strategy, |case| {
            (run.borrow_mut())(&runtime, &world, case);
            Ok(())
        });
        result.unwrap_or_else(|why| panic!("{store:?}: {why}\n{}", world.console()));
    }
}

fn order(showtime: &Showtime) -> (i64, String) {
    (showtime.start_time.expect("a showtime has a start").seconds, showtime.showtime_id.clone())
}

async fn create(server: &Server, auditorium: &str, start: DateTime<Utc>, minutes: i64) -> Result<Showtime, Status> {
    let request = CreateShowtimeRequest { duration: Some(seconds(minutes * 60)), ..new_showtime(auditorium, start) };
    let answer = server.showtimes().create_showtime(request).await?;
    Ok(answer.into_inner().showtime.expect("the answer has the showtime"))
}

async fn page(server: &Server, request: ListShowtimesRequest) -> Result<(Vec<Showtime>, String), Status> {
    let answer = server.showtimes().list_showtimes(request).await?.into_inner();
    Ok((answer.showtimes, answer.next_page_token))
}
