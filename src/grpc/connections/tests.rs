//! What connections may hold, and which of them are closed.

use std::task::{Context, Waker};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    connection::{BLOCKED_BYTES, SMALL_ANSWER_BYTES},
    *,
};

const BUDGET: usize = 1 << 20;

fn connections(max_bytes: usize) -> Connections {
    Connections::new(Limits { max_bytes, ..Limits::default() })
}

fn held(connection: &Arc<Connection>) -> usize {
    connection.account.held()
}

/// Gives a connection an answer that it does not take, of so many bytes with what is charged for its call.
fn untaken(connection: &Arc<Connection>, bytes: usize) -> Option<Bytes> {
    Arc::clone(connection).answer(vec![7; bytes - CALL_BYTES].into(), false).map(Undelivered::hand_out)
}

fn is_closed(connection: &Arc<Connection>) -> bool {
    connection.account.is_closed()
}

#[test]
fn a_connection_gets_answers_while_it_holds_at_most_as_much_as_is_left() {
    let connections = connections(BUDGET);
    let one = connections.open(None);
    assert!(untaken(&one, BUDGET / 2 + 1).is_none());
    assert_eq!((held(&one), connections.bytes()), (0, 0), "an answer that is not given costs nothing");
    let half = untaken(&one, BUDGET / 2).unwrap();
    assert!(one.has_room());
    assert!(untaken(&one, 2 * CALL_BYTES).is_none());
    let other = connections.open(None);
    // More than it would get when more is used.
    assert!(untaken(&other, BUDGET / 4).is_none() && untaken(&other, BUDGET / 32).is_some());
    drop(half);
    assert!(untaken(&other, BUDGET / 4).is_some());
    assert_eq!(connections.bytes(), 0);
}

#[test]
fn a_connection_whose_answers_are_small_gets_no_further_ones_when_it_holds_too_much() {
    let connections = connections(BUDGET);
    let one = connections.open(None);
    let answers = std::iter::from_fn(|| one.has_room().then(|| untaken(&one, CALL_BYTES + 1)));
    let answers: Vec<_> = answers.take(1_000).collect();
    assert_eq!(answers.len(), BUDGET / 2 / (CALL_BYTES + 1) + 1);
}

#[test]
fn an_answer_to_a_change_is_given_whatever_its_connection_holds() {
    let connections = connections(BUDGET);
    let one = connections.open(None);
    let _full = one.charge(BUDGET);
    assert!(Arc::clone(&one).answer(vec![7; 2 * SMALL_ANSWER_BYTES].into(), true).is_some());
    assert!(Arc::clone(&one).answer(vec![7; 2 * SMALL_ANSWER_BYTES].into(), false).is_none());
}

#[test]
fn a_connection_leaves_permits_for_the_others() {
    let connections = Connections::new(Limits { max_requests: 80, ..Limits::default() });
    let (greedy, other) = (connections.open(None), connections.open(None));
    let taken: Vec<_> = std::iter::from_fn(|| greedy.admit(false, Instant::now())).collect();
    // 50 permits are neither reserved nor for connections with few, and 16 are at most half as many as are left of them.
    assert_eq!(taken.len(), 16);
    let taken_too: Vec<_> = std::iter::from_fn(|| other.admit(false, Instant::now())).collect();
    assert_eq!(taken_too.len(), 11);
    drop(taken);
    assert!(other.admit(false, Instant::now()).is_some());
}

#[test]
fn confirmations_have_reserved_permits() {
    let connections = Connections::new(Limits { max_requests: 16, ..Limits::default() });
    let many: Vec<_> = (0..16).map(|_| connections.open(None)).collect();
    let taken: Vec<_> = many.iter().filter_map(|connection| connection.admit(false, Instant::now())).collect();
    assert_eq!(taken.len(), 14);
    let confirming: Vec<_> = many.iter().filter_map(|connection| connection.admit(true, Instant::now())).collect();
    assert_eq!(confirming.len(), 2);
    assert_eq!(confirming.into_iter().filter_map(Permit::release).count(), 2);
}

#[test]
fn a_connection_leaves_permits_for_the_confirmations_of_others() {
    let connections = Connections::new(Limits { max_requests: 80, ..Limits::default() });
    let (greedy, other) = (connections.open(None), connections.open(None));
    let taken: Vec<_> = std::iter::from_fn(|| greedy.admit(true, Instant::now())).collect();
    assert_eq!(taken.len(), 26);
    assert!(other.admit(true, Instant::now()).is_some() && other.admit(false, Instant::now()).is_some());
}

#[test]
fn the_connection_that_holds_the_most_is_closed_for_one_that_holds_less() {
    let connections = connections(BUDGET);
    let (greedy, others) = (connections.open(None), connections.open(None));
    let _held = [greedy.charge(BUDGET * 5 / 8), others.charge(BUDGET * 3 / 8)];
    let modest: Vec<_> = (0..3).map(|_| connections.open(None)).collect();
    let answers: Vec<_> = modest.iter().map(|connection| untaken(connection, 2 * CALL_BYTES)).collect();
    assert!(answers.iter().all(Option::is_some));
    // The memory of the closed one is not free yet, and nobody else is closed for what will be free.
    assert!(is_closed(&greedy) && !is_closed(&others));
}

#[test]
fn where_all_hold_little_those_are_closed_that_have_taken_nothing_for_the_longest_time() {
    let connections = connections(BUDGET);
    let proven = connections.open(None);
    drop(untaken(&proven, CALL_BYTES + 1));
    let hoarders: Vec<_> = (0..62).map(|_| connections.open(None)).collect();
    let _answers: Vec<_> = [&proven].into_iter().chain(&hoarders).map(|one| untaken(one, BUDGET / 64)).collect();
    let modest = connections.open(None);
    assert!(untaken(&modest, BUDGET / 40).is_some());
    let closed: Vec<_> = hoarders.iter().map(is_closed).collect();
    assert!(closed[0] && !closed[3] && !is_closed(&proven) && !is_closed(&modest), "{closed:?}");
}

#[test]
fn where_all_hold_little_one_is_closed_that_is_late() {
    let connections = connections(BUDGET);
    let hoarders: Vec<_> = (0..63).map(|_| connections.open(None)).collect();
    let proof: Vec<_> = hoarders.iter().map(|one| untaken(one, CALL_BYTES + 1)).collect();
    drop(proof);
    let _answers: Vec<_> = hoarders.iter().map(|one| untaken(one, BUDGET / 64)).collect();
    let modest = connections.open(None);
    assert!(untaken(&modest, BUDGET / 40).is_none());
    connections.tick();
    connections.tick();
    while untaken(&modest, BUDGET / 40).is_none() {
        std::hint::spin_loop();
    }
    assert_eq!(hoarders.iter().filter(|connection| is_closed(connection)).count(), 1);
}

#[test]
fn an_answer_is_charged_until_it_is_dropped() {
    let connections = connections(BUDGET);
    let connection = connections.open(None);
    let mut answer = Arc::clone(&connection).answer(Bytes::from_static(&[7; 10_000]), false).unwrap().hand_out();
    assert_eq!((answer.len(), connections.bytes()), (10_000, CALL_BYTES + 10_000));
    // The transport splits what does not fit into a window.
    let first = answer.split_to(1_000);
    drop(answer);
    assert_eq!((&first[..], connections.bytes()), (&[7; 1_000][..], CALL_BYTES + 10_000));
    drop(first);
    assert_eq!(connections.bytes(), 0);
}

#[test]
fn a_connection_that_does_not_take_an_answer_is_closed() {
    let connections = connections(BUDGET);
    let reading = connections.open(None);
    let waiting = connections.open(None);
    let _answer = Arc::clone(&waiting).answer(Bytes::from_static(b"answer"), false).unwrap();
    for tick in 1..=LATE_TICKS {
        assert!(!waiting.account.is_closed(), "before tick {tick}");
        // Answers that are taken do not count, however many there are.
        drop(Arc::clone(&reading).answer(Bytes::from_static(b"answer"), false));
        connections.tick();
    }
    assert!(waiting.account.is_closed() && !reading.account.is_closed());
}

#[test]
fn a_connection_that_takes_no_bytes_is_closed() {
    let connections = connections(BUDGET);
    let (slow, silent) = (connections.open(None), connections.open(None));
    let _blocked = [slow.block(), silent.block()];
    for _ in 0..LATE_TICKS {
        slow.unblock();
        let _again = slow.block();
        connections.tick();
    }
    assert!(silent.account.is_closed() && !slow.account.is_closed());
}

#[test]
fn when_blocked_connections_use_up_the_budget_the_one_is_closed_that_holds_the_most() {
    let connections = connections(3 * BLOCKED_BYTES);
    let (hoarder, blocked) = (connections.open(None), connections.open(None));
    let _hoarded = hoarder.charge(2 * BLOCKED_BYTES + 1);
    let _blocked = blocked.block();
    assert!(is_closed(&hoarder) && !is_closed(&blocked));
}

#[test]
fn streams_without_permits_are_bounded_for_each_connection() {
    let connections = connections(BUDGET);
    let connection = connections.open(None);
    let streams: Vec<_> = std::iter::from_fn(|| connection.reserve_stream(CALL_BYTES)).collect();
    assert_eq!(streams.len(), BUDGET / 8 / CALL_BYTES + 1);
}

#[tokio::test]
async fn the_oldest_of_too_many_messages_give_way() {
    let connections = connections(BUDGET);
    let context = &Context::from_waker(Waker::noop());
    let waits: Vec<_> = (0..100).map(|_| connections.open(None).begin_to_wait()).collect();
    let fits = BUDGET / 2 / CALL_BYTES;
    assert!(waits.iter().all(|wait| wait.may_wait(CALL_BYTES, context)), "each may when it begins");
    let waiting: Vec<_> = waits.iter().map(|wait| wait.may_wait(CALL_BYTES, context)).collect();
    assert_eq!(waiting.iter().filter(|waits| **waits).count(), fits);
    assert!(waiting[100 - fits..].iter().all(|waits| *waits), "the newest ones do: {waiting:?}");
    assert_eq!(connections.bytes(), fits * CALL_BYTES);
    drop(waits);
    assert_eq!(connections.bytes(), 0);
}

#[tokio::test]
async fn a_connection_with_many_messages_that_are_not_complete_gets_no_more() {
    let connections = connections(BUDGET);
    let context = &Context::from_waker(Waker::noop());
    let (greedy, modest) = (connections.open(None), connections.open(None));
    let honest = modest.begin_to_wait();
    assert!(honest.may_wait(CALL_BYTES, context));
    let waits: Vec<_> = (0..100).map(|_| greedy.begin_to_wait()).collect();
    let waiting = waits.iter().filter(|wait| wait.may_wait(CALL_BYTES, context)).count();
    assert!(waiting <= BUDGET / 2 / CALL_BYTES, "{waiting}");
    assert!(honest.may_wait(CALL_BYTES, context));
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_not_read_for_a_while_after_refusals() {
    let connections = connections(BUDGET);
    let (honest, hostile) = (connections.open(None), connections.open(None));
    let refuse = |times| (0..times).for_each(|_| hostile.note_refusal());
    let per_second = connections.0.ration.per_second();
    refuse(per_second / 10);
    let begin = Instant::now();
    hostile.refusals().pause().expect("a pause").await;
    assert_eq!(begin.elapsed().as_millis() / 10, 10, "the time in which so many refusals are allowed");
    assert!(honest.refusals().pause().is_none() && hostile.refusals().pause().is_none());
}

#[tokio::test]
async fn a_connection_that_takes_its_answers_is_not_paused_for_what_others_do() {
    let connections = connections(BUDGET);
    let (honest, hostile) = (connections.open(None), connections.open(None));
    drop(untaken(&honest, CALL_BYTES + 100));
    for connection in [&honest, &hostile] {
        (0..1_000).for_each(|_| connection.note_overload());
    }
    assert!(honest.refusals().is_empty() && !hostile.refusals().is_empty());
    let much = honest.charge(BUDGET / 2);
    honest.note_overload();
    assert!(!honest.refusals().is_empty());
    drop(much);
}

#[tokio::test(start_paused = true)]
async fn many_refusals_cause_several_pauses_of_at_most_a_second() {
    let connections = connections(BUDGET);
    let hostile = connections.open(None);
    for _ in 0..3 * connections.0.ration.per_second() {
        hostile.note_refusal();
    }
    for _ in 0..3 {
        let begin = Instant::now();
        hostile.refusals().pause().expect("a pause").await;
        assert_eq!(begin.elapsed().as_millis() / 10, 100);
    }
    assert!(hostile.refusals().pause().is_none());
}

#[tokio::test]
async fn a_stream_waits_until_its_connection_takes_bytes() {
    let connections = connections(BUDGET);
    let connection = connections.open(None);
    Arc::clone(&connection).writable().await;
    let charge = connection.block();
    let waiting = tokio::spawn(Arc::clone(&connection).writable());
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(charge);
    connection.unblock();
    waiting.await.unwrap();
}

#[test]
fn a_connection_is_forgotten_when_it_ends() {
    let connections = connections(BUDGET);
    let connection = connections.open(None);
    assert_eq!(connections.0.each().len(), 1);
    drop(connection);
    assert_eq!(connections.0.each().len(), 0);
    assert!(connections.0.lock().is_empty());
}
