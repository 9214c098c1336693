//! Showtimes in one auditorium never overlap, however many callers try at once.

use std::collections::BTreeSet;

use boxoffice::pb::boxoffice::v1::{ListShowtimesRequest, Showtime};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use tonic::{Code, Status};

use crate::harness::{
    Server, Store, World, assert_refused, create_auditorium, in_hours, new_showtime, requests::ids, world::Storage,
};

on_both_stores!(
    one_of_fifty_callers_gets_the_slot,
    of_fifty_callers_with_overlapping_slots_no_two_win,
    the_database_refuses_an_overlap_by_itself,
);

const CALLERS: usize = 50;

async fn one_of_fifty_callers_gets_the_slot(world: World) {
    assert_one_wins(&[&world]).await;
}

#[tokio::test]
async fn one_of_fifty_callers_gets_the_slot_over_two_processes() {
    let storage = Storage::new(Store::Postgres).await;
    let (one, other) = tokio::join!(storage.setup().start(), storage.setup().start());
    assert_one_wins(&[&one, &other]).await;
}

async fn of_fifty_callers_with_overlapping_slots_no_two_win(world: World) {
    assert_no_overlap(&[&world]).await;
}

#[tokio::test]
async fn of_fifty_callers_with_overlapping_slots_no_two_win_over_two_processes() {
    let storage = Storage::new(Store::Postgres).await;
    let (one, other) = tokio::join!(storage.setup().start(), storage.setup().start());
    assert_no_overlap(&[&one, &other]).await;
}

/// The database refuses an overlap even without the check in the code.
async fn the_database_refuses_an_overlap_by_itself(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let first = create(&world, &auditorium, in_hours(0)).await.expect("the slot is free");
    let id = if world.storage.is_postgres() { "gen_random_uuid()" } else { "randomblob(16)" };
    let copy = |state: &str| {
        format!(
            "INSERT INTO showtimes SELECT {id}, auditorium_id, movie_id, movie, start_time, end_time, free_again, \
             local_date, currency, price_minor, hold_us, create_time, '{state}', \
             CASE '{state}' WHEN 'cancelled' THEN create_time END, cinema, price_list FROM showtimes"
        )
    };
    let refused = world.storage.sql(&copy("scheduled")).await.expect_err("the slot is taken").to_string();
    assert!(refused.contains("showtimes_do_not_overlap"), "{refused}");
    world.storage.sql(&copy("cancelled")).await.expect("a cancelled showtime overlaps nothing");
    assert_eq!(ids(&listed(&world, &auditorium).await), [&*first.showtime_id]);
}

/// All callers request the same slot, in turn over the servers.
async fn assert_one_wins(servers: &[&Server]) {
    let auditorium = create_auditorium(servers[0].auditoriums()).await.auditorium_id;
    let calls = (0..CALLERS).map(|caller| create(servers[caller % servers.len()], &auditorium, in_hours(0)));
    let (won, lost) = outcome(join_all(calls).await);
    assert_eq!((won.len(), lost.len()), (1, CALLERS - 1));
    for other in &lost {
        assert_eq!(*other, won[0].showtime_id);
    }
    assert_eq!(ids(&listed(servers[0], &auditorium).await), ids(&won));
}

/// The slot of each caller starts ten minutes after that of another, and the callers take the servers in turn.
async fn assert_no_overlap(servers: &[&Server]) {
    let auditorium = create_auditorium(servers[0].auditoriums()).await.auditorium_id;
    let calls = (0..CALLERS).map(|caller| {
        // Neighbouring slots are requested far apart in time. 7 and 50 have no common factor.
        let slot = i64::try_from(caller * 7 % CALLERS).expect("a small number");
        create(servers[caller % servers.len()], &auditorium, in_hours(0) + TimeDelta::minutes(10 * slot))
    });
    let (mut won, lost) = outcome(join_all(calls).await);
    won.sort_by_key(start);
    for pair in won.windows(2) {
        // Two hours, and 15 minutes of turnaround.
        assert!(start(&pair[1]) - start(&pair[0]) >= 135 * 60, "{pair:?}");
    }
    let winners: BTreeSet<&str> = ids(&won).into_iter().collect();
    assert_eq!(won.len() + lost.len(), CALLERS);
    assert!(lost.iter().all(|other| winners.contains(&**other)), "{lost:?}");
    // The slots start within 490 minutes, and a winner excludes others for less than 135 minutes on each side.
    assert!((2..=4).contains(&won.len()), "{won:?}");
    assert_eq!(ids(&listed(servers[0], &auditorium).await), ids(&won));
}

/// Returns the scheduled showtimes, and the showtime that each refusal names.
fn outcome(answers: Vec<Result<Showtime, Status>>) -> (Vec<Showtime>, Vec<String>) {
    let (mut won, mut lost) = (Vec::new(), Vec::new());
    for answer in answers {
        match answer {
            Ok(showtime) => won.push(showtime),
            Err(status) => {
                let mut other = assert_refused(&status, Code::FailedPrecondition, "SHOWTIME_OVERLAPS");
                lost.push(other.remove("showtime_id").unwrap_or_else(|| panic!("no showtime is named: {status:?}")));
            }
        }
    }
    (won, lost)
}

fn start(showtime: &Showtime) -> i64 {
    showtime.start_time.expect("a showtime has a start").seconds
}

async fn create(server: &Server, auditorium_id: &str, start: DateTime<Utc>) -> Result<Showtime, Status> {
    let answer = server.showtimes().create_showtime(new_showtime(auditorium_id, start)).await?;
    Ok(answer.into_inner().showtime.expect("the answer has the showtime"))
}

async fn listed(server: &Server, auditorium_id: &str) -> Vec<Showtime> {
    let request = ListShowtimesRequest { auditorium_id: auditorium_id.to_owned(), ..Default::default() };
    server.showtimes().list_showtimes(request).await.expect("a list").into_inner().showtimes
}
