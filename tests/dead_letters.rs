//! Dead letters: an event that a broker refuses holds up its showtime alone, and is delivered in its place when it is redriven.

use boxoffice::pb::boxoffice::{
    events::v1::event::Payload,
    v1::{
        DeadLetter, DeadLetterState, DropDeadLettersRequest, FeedEvent, ListDeadLettersRequest,
        RedriveDeadLettersRequest, Showtime, drop_dead_letters_request as drop,
        redrive_dead_letters_request as redrive,
    },
};
use sea_orm::ConnectionTrait as _;
use tonic::Code;

use crate::harness::{
    Server, Store, World, assert_not_found, assert_refused,
    brokers::{Delivered, consumed},
    events::{change, delivered, feed, sinks},
    eventually,
    nats::Nats,
    rabbitmq::RabbitMq,
    seats::{best, reserve, showtime},
    server::binary,
    world::Storage,
};

/// With these limits an event of a customer with a long name is too large, and no other.
const SMALL_NATS: i32 = 955;
const SMALL_RABBITMQ: usize = 370;

on_both_stores!(
    an_event_that_nats_refuses_holds_up_its_showtime_alone_until_it_is_redriven,
    letters_outlive_a_kill_of_the_service,
);

async fn small_nats() -> Nats {
    let nats = Nats::start("").await;
    nats.make_stream("boxoffice.events.>", SMALL_NATS).await;
    nats
}

/// Makes changes of two showtimes, of which one event is too large. Returns it, and all events.
/// Before them the feed has so many.
async fn changes(server: &Server, showtime: &Showtime, other: &Showtime, before: usize) -> (String, Vec<FeedEvent>) {
    change(server, showtime, "ada").await;
    change(server, other, "bob").await;
    let large = "l".repeat(128);
    reserve(server, best(showtime, &large, 8)).await.expect("there are seats");
    change(server, showtime, "cem").await;
    change(server, other, "dan").await;
    let events = feed(server, before + 13).await;
    let is_large = |event: &&FeedEvent| {
        let payload = event.data.as_ref().and_then(|data| data.payload.as_ref());
        matches!(payload, Some(Payload::ReservationCreated(made)) if made.customer_id == large)
    };
    (events.iter().find(is_large).expect("the event is in the feed").id.clone(), events)
}

async fn letters(server: &Server, dead_only: bool) -> Vec<DeadLetter> {
    let request = ListDeadLettersRequest { dead_only, ..Default::default() };
    server.operations().list_dead_letters(request).await.expect("letters are listed").into_inner().dead_letters
}

async fn redrive_all(server: &Server, sink: &str) -> i64 {
    let dead_letters = Some(redrive::DeadLetters::AllOfSink(sink.to_owned()));
    let request = RedriveDeadLettersRequest { dead_letters };
    server.operations().redrive_dead_letters(request).await.expect("letters are redriven").into_inner().count
}

/// What `boxoffice events` prints.
fn events(server: &Server, arguments: &[&str]) -> String {
    let mut command = binary();
    let output = command.arg("events").args(arguments).args(["--address", server.address()]).output();
    let output = output.expect("the binary runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ids<'a>(messages: &'a [Delivered], showtime: &Showtime) -> Vec<&'a str> {
    let own = messages.iter().filter(|message| message.event.aggregate_id == showtime.showtime_id);
    own.map(Delivered::id_of_event).collect()
}

/// The events of a showtime that a consumer takes that drops what comes again.
fn consumed_of(messages: &[Delivered], showtime: &Showtime) -> Vec<String> {
    consumed(messages).into_iter().filter(|id| id.starts_with(&showtime.showtime_id)).collect()
}

fn of_showtime<'a>(events: &'a [FeedEvent], showtime: &Showtime) -> Vec<&'a str> {
    let own = events.iter().filter(|event| event.id.starts_with(&showtime.showtime_id));
    own.map(|event| event.id.as_str()).collect()
}

/// Waits until the large event is a dead letter, and everything else is delivered or waits behind it.
async fn refused(server: &Server, large: &str, events: &[FeedEvent], showtime: &Showtime) -> Vec<DeadLetter> {
    let letters = eventually("the event is a dead letter", async || {
        // The sink is read first: once it has passed everything, all letters are written.
        let sink = sinks(server).await.remove(0);
        let letters = letters(server, false).await;
        (!letters.is_empty() && sink.lag == 0 && sink.problem.is_empty()).then_some(letters)
    })
    .await;
    let own = of_showtime(events, showtime);
    let at = own.iter().position(|id| *id == large).expect("the event is of this showtime");
    assert_eq!(letters.iter().map(|letter| letter.event_id.as_str()).collect::<Vec<_>>(), own[at..]);
    for (index, letter) in letters.iter().enumerate() {
        let state = if index == 0 { DeadLetterState::Dead } else { DeadLetterState::Waiting };
        assert_eq!((letter.state(), letter.reason.is_empty()), (state, index > 0), "{letter:?}");
        assert_eq!(letter.attempts, if index == 0 { 3 } else { 0 });
        let event = events.iter().find(|event| event.id == letter.event_id).expect("it is in the feed");
        assert_eq!((&letter.data, &letter.r#type), (&event.data, &event.r#type));
    }
    let sink = sinks(server).await.remove(0);
    assert_eq!((sink.dead_letters, sink.waiting_events), (1, letters.len() as i64 - 1));
    assert_eq!(sink.problem, "");
    letters
}

async fn gone(server: &Server) {
    eventually("no letter is left", async || letters(server, false).await.is_empty().then_some(())).await;
}

async fn an_event_that_nats_refuses_holds_up_its_showtime_alone_until_it_is_redriven(world: World) {
    let nats = small_nats().await;
    world.stop().await;
    let server = world.setup().clone().with("--sink", nats.url()).start().await;
    let (showtime, other) = (showtime(&server).await, showtime(&server).await);
    let (large, all) = changes(&server, &showtime, &other, 2).await;
    let kept = refused(&server, &large, &all, &showtime).await;
    assert!(kept[0].reason.contains("larger than the stream BOXOFFICE takes"), "{}", kept[0].reason);
    let messages = nats.messages().await;
    assert_eq!(ids(&messages, &other), of_showtime(&all, &other));
    assert_eq!(ids(&messages, &showtime).len() + kept.len(), of_showtime(&all, &showtime).len());
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("boxoffice_sink_dead_total", &["sink=\"nats\""]), Some(1.0));
    let kept_letters = u32::try_from(kept.len()).expect("a few");
    assert_eq!(metrics.sum("boxoffice_sink_letters", &["sink=\"nats\""]), Some(f64::from(kept_letters)));
    // It is refused again, and nothing that waits is delivered.
    assert_eq!(redrive_all(&server, "nats").await, 1);
    eventually("it was refused again", async || (letters(&server, true).await.first()?.attempts == 4).then_some(()))
        .await;
    assert_eq!(nats.messages().await.len(), messages.len());
    // Now it is small enough.
    nats.make_stream("boxoffice.events.>", -1).await;
    let printed = events(&server, &["lag"]);
    let line = printed.lines().find(|line| line.starts_with("nats ")).expect("the sink is listed");
    assert_eq!(line.split_whitespace().skip(6).collect::<Vec<_>>(), ["1", "3"], "{printed}");
    let listed = events(&server, &["dead-letters", "list"]);
    assert_eq!(listed.lines().count(), kept.len(), "{listed}");
    for (line, letter) in listed.lines().zip(&kept) {
        assert!(line.starts_with(&letter.dead_letter_id) && line.contains(&letter.event_id), "{line}");
    }
    let id = &kept[0].dead_letter_id;
    let redriven = events(&server, &["dead-letters", "redrive", "--id", id]);
    assert_eq!(redriven, "1 dead letters are sent again\n");
    gone(&server).await;
    assert_eq!(events(&server, &["dead-letters", "drop", "--sink", "nats"]), "0 dead letters are dropped\n");
    change(&server, &showtime, "eve").await;
    let all = feed(&server, 18).await;
    delivered(&server).await;
    let messages = nats.messages().await;
    assert_eq!(ids(&messages, &showtime), of_showtime(&all, &showtime));
    assert_eq!(ids(&messages, &other), of_showtime(&all, &other));
}

async fn letters_outlive_a_kill_of_the_service(world: World) {
    let nats = small_nats().await;
    world.stop().await;
    let mut server = world.setup().clone().with("--sink", nats.url()).start().await;
    let (showtime, other) = (showtime(&server).await, showtime(&server).await);
    let (large, events) = changes(&server, &showtime, &other, 2).await;
    let kept = refused(&server, &large, &events, &showtime).await;
    server.kill();
    let server = world.setup().clone().with("--sink", nats.url()).start().await;
    change(&server, &showtime, "eve").await;
    change(&server, &other, "eve").await;
    let waiting = eventually("the new events wait as well", async || {
        let letters = letters(&server, false).await;
        (letters.len() == kept.len() + 3).then_some(letters)
    })
    .await;
    // An id names one letter.
    let one = |id: &str| DropDeadLettersRequest { dead_letters: Some(drop::DeadLetters::DeadLetterId(id.to_owned())) };
    let behind = server.operations().drop_dead_letters(one(&waiting[1].dead_letter_id)).await;
    let waits = behind.expect_err("it waits, and is not dead");
    assert_not_found(&waits, "DEAD_LETTER_NOT_FOUND", &waiting[1].dead_letter_id);
    let malformed = server.operations().drop_dead_letters(one("17")).await.expect_err("that is no id");
    assert_refused(&malformed, Code::InvalidArgument, "INVALID_REQUEST");
    let dropped = server.operations().drop_dead_letters(one(&kept[0].dead_letter_id)).await;
    assert_eq!(dropped.expect("the letter is dropped").into_inner().count, 1);
    gone(&server).await;
    let events: Vec<_> = feed(&server, 21).await.into_iter().filter(|event| event.id != large).collect();
    delivered(&server).await;
    let messages = nats.messages().await;
    assert_eq!(ids(&messages, &showtime), of_showtime(&events, &showtime));
    assert_eq!(ids(&messages, &other), of_showtime(&events, &other));
}

#[tokio::test]
async fn letters_whose_writing_was_cut_off_are_neither_lost_nor_overtaken() {
    let (storage, nats) = (Storage::new(Store::Postgres).await, small_nats().await);
    // A delivery is given up before a statement is.
    let setup = storage.setup().with("--sink", nats.url()).with("--database-timeout", "20s");
    let server = setup.start().await;
    let (showtime, other) = (showtime(&server).await, showtime(&server).await);
    delivered(&server).await;
    // Letters can be read, and cannot be written.
    let blocking = storage.transaction("LOCK TABLE dead_letters IN SHARE MODE").await;
    let (large, all) = changes(&server, &showtime, &other, 2).await;
    let retried = async || server.metrics().await.sum("boxoffice_sink_retried_total", &[]).unwrap_or_default();
    let waits = "SELECT 1 FROM pg_locks WHERE relation = 'dead_letters'::regclass AND NOT granted";
    eventually("letters are being written", async || {
        let waiting = blocking.execute_unprepared(waits).await.expect("locks are read");
        (waiting.rows_affected() > 0).then_some(())
    })
    .await;
    let before = retried().await;
    eventually("the writing was cut off", async || (retried().await > before).then_some(())).await;
    blocking.execute_unprepared("ROLLBACK").await.expect("the table is let go");
    refused(&server, &large, &all, &showtime).await;
    nats.make_stream("boxoffice.events.>", -1).await;
    assert_eq!(redrive_all(&server, "nats").await, 1);
    gone(&server).await;
    delivered(&server).await;
    let messages = nats.messages().await;
    for showtime in [&showtime, &other] {
        assert_eq!(consumed_of(&messages, showtime), of_showtime(&all, showtime));
    }
}

#[tokio::test]
async fn an_event_that_rabbitmq_refuses_holds_up_its_showtime_alone() {
    let broker = RabbitMq::start(&format!("max_message_size = {SMALL_RABBITMQ}")).await;
    broker.bind("boxoffice.#").await;
    let world = World::start(Store::Sqlite).await;
    let (first, other) = (showtime(&world).await, showtime(&world).await);
    for _ in 0..12 {
        let busy = showtime(&world).await;
        for _ in 0..3 {
            change(&world, &busy, "eve").await;
        }
    }
    let (large, events) = changes(&world, &first, &other, 2 + 12 * 10).await;
    // They are sent together, and the refusal closes the channel before those beside it are confirmed.
    world.stop().await;
    let server = world.setup().clone().with("--sink", broker.url()).start().await;
    let kept = refused(&server, &large, &events, &first).await;
    assert!(kept[0].reason.contains(&format!("at most {SMALL_RABBITMQ} bytes")), "{}", kept[0].reason);
    let one = DropDeadLettersRequest { dead_letters: Some(drop::DeadLetters::AllOfSink("rabbitmq".to_owned())) };
    assert_eq!(server.operations().drop_dead_letters(one).await.expect("it is dropped").into_inner().count, 1);
    gone(&server).await;
    // What was confirmed in the moment of the refusal may come twice.
    let messages = broker.messages().await;
    for showtime in [&first, &other] {
        let wanted: Vec<_> = of_showtime(&events, showtime).into_iter().filter(|id| *id != large).collect();
        assert_eq!(consumed_of(&messages, showtime), wanted);
    }
}
