//! What connections may hold, and which of them are closed.

use bytes::Bytes;

use super::{
    connection::{BLOCKED_BYTES, SMALL_ANSWER_BYTES},
    *,
};

const BUDGET: usize = 1 << 20;

fn connections(max_bytes: usize) -> Connections {
    Connections::new(Limits { max_bytes, ..Limits::default() })
}

fn held(connection: &Arc<Connection>) -> usize {
    connection.held()
}

#[test]
fn a_connection_holds_at_most_as_much_as_is_left() {
    let connections = connections(BUDGET);
    let one = connections.open(None);
    assert!(one.reserve(BUDGET / 2 + 1).is_none());
    assert_eq!((held(&one), connections.bytes()), (0, 0), "a refused charge costs nothing");
    let half = one.reserve(BUDGET / 2).unwrap();
    assert!(one.reserve(1).is_none());
    let other = connections.open(None);
    assert!(other.reserve(BUDGET / 4).is_some());
    drop(half);
    assert_eq!(connections.bytes(), 0);
}

#[test]
fn a_connection_leaves_permits_for_the_others() {
    let connections = Connections::new(Limits { max_requests: 80, ..Limits::default() });
    let (greedy, other) = (connections.open(None), connections.open(None));
    let taken: Vec<_> = std::iter::from_fn(|| greedy.admit(false)).collect();
    // 60 permits are not reserved, and 20 are half as many as are left then.
    assert_eq!(taken.len(), 20);
    let taken_too: Vec<_> = std::iter::from_fn(|| other.admit(false)).collect();
    assert_eq!(taken_too.len(), 13);
    drop(taken);
    assert!(other.admit(false).is_some());
}

#[test]
fn confirmations_have_reserved_permits() {
    let connections = Connections::new(Limits { max_requests: 16, ..Limits::default() });
    let many: Vec<_> = (0..16).map(|_| connections.open(None)).collect();
    let taken: Vec<_> = many.iter().filter_map(|connection| connection.admit(false)).collect();
    assert_eq!(taken.len(), 14);
    let confirming: Vec<_> = many.iter().filter_map(|connection| connection.admit(true)).collect();
    assert_eq!(confirming.len(), 2);
    assert_eq!(confirming.into_iter().filter_map(Permit::release).count(), 2);
}

#[test]
fn the_connection_that_holds_the_most_is_closed_for_one_that_holds_little() {
    let connections = connections(BUDGET);
    let greedy: Vec<_> = (0..20).map(|_| connections.open(None)).collect();
    // Each takes all that it gets, one after the other.
    let charges: Vec<_> =
        greedy.iter().flat_map(|connection| std::iter::from_fn(|| connection.reserve(CALL_BYTES))).collect();
    let closed: Vec<_> = greedy.iter().map(|connection| connection.closed.load(Relaxed)).collect();
    assert!(closed[0] && !closed[19], "{closed:?}");
    assert!(connections.bytes() <= BUDGET + greedy.len() * CALL_BYTES, "{} bytes", connections.bytes());
    // After a failure it takes a moment until a connection is looked for again.
    let modest = connections.open(None);
    while modest.reserve(CALL_BYTES).is_none() {
        std::hint::spin_loop();
    }
    drop(charges);
    assert_eq!(connections.bytes(), 0);
}

#[test]
fn an_answer_is_charged_until_it_is_dropped() {
    let connections = connections(BUDGET);
    let connection = connections.open(None);
    let mut answer = Arc::clone(&connection).answer(Bytes::from_static(&[7; 10_000])).unwrap();
    assert_eq!((answer.len(), connections.bytes()), (10_000, CALL_BYTES + 10_000));
    // The transport splits what does not fit into a window.
    let first = answer.split_to(1_000);
    drop(answer);
    assert_eq!((&first[..], connections.bytes()), (&[7; 1_000][..], CALL_BYTES + 10_000));
    drop(first);
    assert_eq!(connections.bytes(), 0);
}

#[test]
fn a_small_answer_is_given_to_a_connection_that_holds_too_much() {
    let connections = connections(BUDGET);
    let connection = connections.open(None);
    let _charge = connection.charge(BUDGET);
    assert!(Arc::clone(&connection).answer(Bytes::from_static(&[7; SMALL_ANSWER_BYTES + 1])).is_none());
    assert!(Arc::clone(&connection).answer(Bytes::from_static(&[7; SMALL_ANSWER_BYTES])).is_some());
    assert_eq!(connections.bytes(), BUDGET, "both are dropped");
}

#[test]
fn a_connection_that_does_not_take_an_answer_is_closed() {
    let connections = connections(BUDGET);
    let reading = connections.open(None);
    let waiting = connections.open(None);
    let _answer = Arc::clone(&waiting).answer(Bytes::from_static(b"answer")).unwrap();
    for tick in 1..=LATE_TICKS {
        assert!(!waiting.closed.load(Relaxed), "before tick {tick}");
        // Answers that are taken do not count, however many there are.
        drop(Arc::clone(&reading).answer(Bytes::from_static(b"answer")));
        connections.tick();
    }
    assert!(waiting.closed.load(Relaxed) && !reading.closed.load(Relaxed));
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
    assert!(silent.closed.load(Relaxed) && !slow.closed.load(Relaxed));
}

#[test]
fn a_blocked_connection_beyond_the_budget_is_closed() {
    let connections = connections(2 * BLOCKED_BYTES);
    let blocked: Vec<_> = (0..3).map(|_| connections.open(None)).collect();
    let _charges: Vec<_> = blocked.iter().map(Connection::block).collect();
    let closed: Vec<_> = blocked.iter().map(|connection| connection.closed.load(Relaxed)).collect();
    assert_eq!(closed, [false, false, true]);
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
