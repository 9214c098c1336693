//! `boxoffice project`: the tables equal what the service says, whatever ends in between, and however often events come.

use boxoffice::pb::boxoffice::v1::{GetEventFeedRequest, Reservation, Showtime};
use rustix::process::Signal;
use sea_orm::JsonValue;
use serde_json::json;

use crate::harness::{
    Server, Store, World, eventually,
    proxy::Proxy,
    reporting::Reporting,
    sales::{Dice, cancel_showtime, lapse, schedule, sell},
    seats::{best, confirm, reserve, showtime, these},
    server::binary,
    staff::{confirm_late, exchange, release},
    world::Storage,
};

on_both_stores!(
    the_tables_equal_what_the_service_says_and_a_rebuild_equals_what_grew,
    what_becomes_of_a_sale_is_counted_once,
    events_that_come_twice_change_nothing,
    of_two_projectors_one_stops_and_the_tables_are_right,
    the_database_of_the_service_is_refused,
);

async fn reporting(world: &World) -> Reporting {
    Reporting::new(if world.storage.is_postgres() { Store::Postgres } else { Store::Sqlite }).await
}

async fn the_tables_equal_what_the_service_says_and_a_rebuild_equals_what_grew(world: World) {
    let (reports, mut dice) = (reporting(&world).await, Dice::new(1));
    let showtimes = schedule(&world).await;
    for _ in 0..3 {
        sell(&world, &showtimes, &mut dice, 60).await;
        reports.catch_up(world.address(), &["--batch", "7"]).await;
    }
    cancel_showtime(&world, &showtimes[0]).await;
    lapse(&world, &showtimes).await;
    reports.assert_equals(&world, &showtimes).await;
    let returned = reports.rows("SELECT 1 FROM sales WHERE return_time IS NOT NULL").await.len();
    let kept = reports.rows("SELECT 1 FROM sales WHERE return_time IS NULL").await.len();
    let outcomes = reports.rows("SELECT DISTINCT outcome FROM holds").await.len();
    assert!(returned > 0 && kept > 0 && outcomes == 4, "{returned} returned, {kept} kept, {outcomes} outcomes");
    let grown = reports.dump().await;
    reports.catch_up(world.address(), &["--rebuild"]).await;
    assert_eq!(reports.dump().await, grown);
    let state = reports.rows("SELECT complete_since FROM projection").await;
    assert_eq!(state[0]["complete_since"], json!(null), "nothing was deleted");
}

async fn what_becomes_of_a_sale_is_counted_once(world: World) {
    let reports = reporting(&world).await;
    let (mut showtimes, calm) = (schedule(&world).await, showtime(&world).await);
    // Holds of this one lapse after a second.
    let brief = showtimes.last().expect("a showtime").clone();
    showtimes.push(calm.clone());
    let sell = async |seats: &str| {
        let held = reserve(&world, these(&calm, seats, seats)).await.expect("the seats are free");
        confirm(&world, &held).await.expect("it is held")
    };
    let (part, whole) = (sell("A1 A2 A3").await, sell("B1 B2").await);
    release(&world, &part, "A2").await.expect("it is sold");
    // It has the seat that was given back again, by another line, and then neither of them.
    exchange(&world, &part, "A2 A3").await.expect("one is free, and it has the other");
    exchange(&world, &part, "D1 D2").await.expect("the seats are free");
    exchange(&world, &whole, "B2 B3").await.expect("one is free, and it has the other");
    release(&world, &whole, "B3").await.expect("it is sold");
    release(&world, &whole, "").await.expect("one is left");
    let late = async |seats: &str| reserve(&world, these(&brief, seats, seats)).await.expect("the seats are free");
    let (recovered, owed) = (late("A1 A2").await, late("B1 B2").await);
    lapse(&world, std::slice::from_ref(&brief)).await;
    confirm_late(&world, &recovered, "card").await.expect("the seats are free");
    let taken = sell_at(&world, &brief, "B2").await;
    confirm_late(&world, &owed, "card").await.expect("the money is noted");
    reports.assert_equals(&world, &showtimes).await;
    let counts = async |showtime: &Showtime| {
        let id = &showtime.showtime_id;
        let row = reports.rows(&format!("SELECT * FROM showtimes WHERE showtime_id = '{id}'")).await.remove(0);
        (row["held_seats"].as_i64(), row["sold_seats"].as_i64())
    };
    assert_eq!((counts(&calm).await, counts(&brief).await), ((Some(0), Some(2)), (Some(0), Some(3))));
    let sales = async |of: &Reservation| {
        let id = &of.reservation_id;
        let rows = reports.rows(&format!("SELECT * FROM sales WHERE reservation_id = '{id}' ORDER BY seat")).await;
        let read = |row: &JsonValue| (row["seat"].clone(), row["return_time"].is_null(), row["price"].clone());
        rows.iter().map(read).collect::<Vec<_>>()
    };
    // A line stays the line of the seat that was sold first.
    let line = |seat: &str, is_kept| (json!(seat), is_kept, json!(950));
    assert_eq!(sales(&part).await, [line("A1", true), line("A2", false), line("A3", true)]);
    assert_eq!(sales(&whole).await, [line("B1", false), line("B2", false)]);
    assert_eq!((sales(&recovered).await.len(), sales(&taken).await.len(), sales(&owed).await.len()), (2, 1, 0));
    for (of, expected) in [(&recovered, "confirmed"), (&owed, "expired"), (&whole, "confirmed")] {
        let id = &of.reservation_id;
        let row = reports.rows(&format!("SELECT outcome FROM holds WHERE reservation_id = '{id}'")).await.remove(0);
        assert_eq!(row["outcome"], json!(expected));
    }
    let grown = reports.dump().await;
    reports.catch_up(world.address(), &["--rebuild"]).await;
    assert_eq!(reports.dump().await, grown);
}

/// Sells seats at once, before the hold lapses.
async fn sell_at(server: &Server, showtime: &Showtime, seats: &str) -> Reservation {
    let held = reserve(server, these(showtime, seats, seats)).await.expect("the seats are free");
    confirm_late(server, &held, "card").await.expect("its seats are free, whether or not it has lapsed").1
}

async fn events_that_come_twice_change_nothing(world: World) {
    let (reports, mut dice) = (reporting(&world).await, Dice::new(2));
    let showtimes = schedule(&world).await;
    sell(&world, &showtimes, &mut dice, 80).await;
    reports.assert_equals(&world, &showtimes).await;
    let (once, count) = (reports.dump().await, reports.rows("SELECT event_count FROM projection").await);
    reports.sql("UPDATE projection SET resume_token = NULL").await;
    reports.catch_up(world.address(), &[]).await;
    assert_eq!(reports.dump().await, once);
    assert_eq!(reports.rows("SELECT event_count FROM projection").await, count);
}

async fn of_two_projectors_one_stops_and_the_tables_are_right(world: World) {
    let (reports, mut dice) = (reporting(&world).await, Dice::new(3));
    reports.catch_up(world.address(), &[]).await;
    let projectors = [(); 2].map(|()| reports.start(world.address(), &["--batch", "1"]));
    let showtimes = schedule(&world).await;
    sell(&world, &showtimes, &mut dice, 60).await;
    let stopped = eventually("one of them stops", async || {
        // As long as one of them has not begun, there is no other.
        sell(&world, &showtimes, &mut dice, 1).await;
        projectors.iter().position(|projector| projector.console().to_string().contains("another projector"))
    })
    .await;
    assert_eq!(projectors[stopped].exit().await.code(), Some(1), "{}", projectors[stopped].console());
    let other = &projectors[1 - stopped];
    other.signal(Signal::TERM);
    assert_eq!(other.exit().await.code(), Some(0), "{}", other.console());
    reports.assert_equals(&world, &showtimes).await;
}

async fn the_database_of_the_service_is_refused(world: World) {
    let mut project = binary();
    let url = world.storage.url();
    project.args(["project", "--from", &format!("http://{}", world.address()), "--database-url", &url]);
    let output = project.output().expect("the program runs");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("give it a database of its own"), "{printed}");
    assert!(!printed.contains("postgres@"), "{printed}");
}

/// Kills the projector again and again while it has much to do, and the service once.
async fn nothing_is_lost_when_the_projector_or_the_service_is_killed(store: Store) {
    let (storage, reports) = (Storage::new(store).await, Reporting::new(store).await);
    let mut server = storage.setup().start().await;
    let proxy = Proxy::to(server.address()).await;
    let (showtimes, mut dice) = (schedule(&server).await, Dice::new(4));
    // The tables are there from here on.
    reports.catch_up(server.address(), &[]).await;
    for round in 0..8 {
        sell(&server, &showtimes, &mut dice, 80).await;
        let newest = newest(&server).await;
        let (before, _) = progress(&reports).await;
        let mut projector = reports.start(proxy.url(), &["--batch", "1"]);
        if round == 4 {
            server.kill();
            server = storage.setup().start().await;
            proxy.move_to(&format!("x@{}/x", server.address()));
        }
        eventually("something is projected", async || {
            let (count, token) = progress(&reports).await;
            (count > before || token == newest).then_some(())
        })
        .await;
        projector.kill();
    }
    reports.assert_equals(&server, &showtimes).await;
    let grown = reports.dump().await;
    reports.catch_up(server.address(), &["--rebuild"]).await;
    assert_eq!(reports.dump().await, grown);
}

/// The number of events in the tables, and the token after the last one.
async fn progress(reports: &Reporting) -> (i64, String) {
    let rows = reports.rows("SELECT event_count, resume_token FROM projection").await;
    let token = rows[0]["resume_token"].as_str().unwrap_or_default().to_owned();
    (rows[0]["event_count"].as_i64().expect("a number"), token)
}

/// The token after the last event that the service has.
async fn newest(server: &Server) -> String {
    let feed = server.events().get_event_feed(GetEventFeedRequest {}).await.expect("the feed is read");
    feed.into_inner().newest_token
}

#[tokio::test]
async fn nothing_is_lost_when_the_projector_or_the_service_is_killed_on_sqlite() {
    Box::pin(nothing_is_lost_when_the_projector_or_the_service_is_killed(Store::Sqlite)).await;
}

#[tokio::test]
async fn nothing_is_lost_when_the_projector_or_the_service_is_killed_on_postgres() {
    Box::pin(nothing_is_lost_when_the_projector_or_the_service_is_killed(Store::Postgres)).await;
}

async fn hold(server: &Server, customer: &str) {
    let showtime = showtime(server).await;
    let held = reserve(server, best(&showtime, customer, 2)).await.expect("there are seats");
    confirm(server, &held).await.expect("the seats are held");
}

#[tokio::test]
async fn a_projector_that_has_fallen_behind_names_rebuild_which_says_since_when_the_tables_are_complete() {
    let (storage, reports) = (Storage::new(Store::Sqlite).await, Reporting::new(Store::Sqlite).await);
    let server = storage.setup().with("--event-cap", "4").with("--event-retention", "1m").start().await;
    hold(&server, "ada").await;
    reports.catch_up(server.address(), &[]).await;
    let before = reports.dump().await;
    for customer in ["bob", "cem", "dan"] {
        hold(&server, customer).await;
    }
    eventually("the next event is deleted", async || {
        let feed = server.events().get_event_feed(GetEventFeedRequest {}).await.expect("the feed is read");
        (feed.into_inner().compacted_position >= 12).then_some(())
    })
    .await;
    let (code, printed) = reports.end(server.address(), &[]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("EVENTS_COMPACTED") && printed.contains("--rebuild"), "{printed}");
    assert_eq!(reports.dump().await, before);
    reports.catch_up(server.address(), &["--rebuild"]).await;
    let state = reports.rows("SELECT complete_since FROM projection").await;
    assert!(state[0]["complete_since"].is_string(), "{state:?}");
    // The last four rows are kept: the three of dan's showtime, and the one of the purchase.
    let showtimes = reports.rows("SELECT sold_seats, revision FROM showtimes").await;
    assert_eq!(showtimes, [json!({"sold_seats": 2, "revision": 3})]);
}

#[tokio::test]
async fn a_projector_of_another_service_names_rebuild_and_changes_nothing() {
    let (one, reports) = (World::start(Store::Sqlite).await, Reporting::new(Store::Sqlite).await);
    hold(&one, "ada").await;
    reports.catch_up(one.address(), &[]).await;
    let before = reports.dump().await;
    let other = World::start(Store::Sqlite).await;
    hold(&other, "bob").await;
    let (code, printed) = reports.end(other.address(), &[]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("--rebuild"), "{printed}");
    assert_eq!(reports.dump().await, before);
    reports.catch_up(other.address(), &["--rebuild"]).await;
    assert_ne!(reports.dump().await, before);
}

#[tokio::test]
async fn a_projector_of_a_copied_database_names_rebuild_and_changes_nothing() {
    let (storage, reports) = (Storage::new(Store::Postgres).await, Reporting::new(Store::Postgres).await);
    let server = storage.setup().start().await;
    hold(&server, "ada").await;
    reports.catch_up(server.address(), &[]).await;
    let before = reports.dump().await;
    server.stop().await;
    // A copy has the same events and the same key of tokens, and another epoch.
    let copy = storage.database().copy();
    let server = storage.setup().with("--database-url", copy.url()).start().await;
    let (code, printed) = reports.end(server.address(), &[]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("EVENTS_UNKNOWN") && printed.contains("--rebuild"), "{printed}");
    assert_eq!(reports.dump().await, before);
    reports.catch_up(server.address(), &["--rebuild"]).await;
    assert_eq!(reports.dump().await, before);
    server.stop().await;
}

#[tokio::test]
async fn a_projector_that_is_to_end_does_not_wait_for_a_service_that_is_not_there() {
    let reports = Reporting::new(Store::Sqlite).await;
    let (code, printed) = reports.end("127.0.0.1:1", &["--once"]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("connection refused"), "{printed}");
}

#[tokio::test]
async fn a_projector_goes_on_when_its_database_can_be_used_again() {
    let (world, reports) = (World::start(Store::Postgres).await, Reporting::new(Store::Postgres).await);
    // The tables are there from here on.
    reports.catch_up(world.address(), &[]).await;
    let projector = reports.start(world.address(), &[]);
    let caught_up = async || (progress(&reports).await.1 == newest(&world).await).then_some(());
    hold(&world, "ada").await;
    eventually("the first sale is in the tables", caught_up).await;
    reports.database().refuse_connections();
    hold(&world, "bob").await;
    projector.console().line(&["the projection is interrupted"]).await;
    reports.database().accept_connections();
    eventually("the second sale is in the tables", caught_up).await;
    projector.signal(Signal::TERM);
    assert_eq!(projector.exit().await.code(), Some(0), "{}", projector.console());
}

#[tokio::test]
async fn a_reporting_database_that_cannot_be_reached_is_named_without_its_password() {
    let mut project = binary();
    project.args(["project", "--from", "http://127.0.0.1:1", "--database-url", "postgres://u:CANARY@127.0.0.1:1/x"]);
    let output = project.output().expect("the program runs");
    let printed = format!("{output:?}");
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("Postgres at 127.0.0.1:1: connection refused"), "{printed}");
    assert!(!printed.contains("CANARY"), "{printed}");
}
