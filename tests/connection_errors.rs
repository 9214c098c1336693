//! What goes wrong with connections is counted by kind, and an attack writes few log lines, which name the worst peer.

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::harness::{
    DEADLINE, Server, Store, World, eventually,
    http2::{DATA, END_HEADERS, GOAWAY, HEADERS, REQUEST, RST_STREAM, closed, frame, preface, send},
};

/// Waits until this many errors of a kind are in the metric.
async fn counted(server: &Server, kind: &str, expected: u32) {
    eventually(&format!("{expected} of the kind {kind}"), async || {
        let labels = [&*format!("kind=\"{kind}\"")];
        let count = server.metrics().await.sum("boxoffice_connection_errors_total", &labels);
        assert!(count.is_none_or(|count| count <= expected.into()), "{count:?} of the kind {kind}");
        count.filter(|count| *count >= expected.into())
    })
    .await;
}

/// Waits until the log lines of a kind have this many errors in all. Returns the lines.
async fn logged(server: &Server, kind: &str, expected: u32) -> Vec<String> {
    let of_kind = |line: &str| line.contains(&format!("kind={kind} "));
    let mut total = 0;
    let enough = |line: &str| {
        if of_kind(line) {
            let count = line.split(" count=").nth(1).and_then(|rest| rest.split_whitespace().next());
            total += count.expect("a line has its count").parse::<u32>().expect("a number");
        }
        (total >= expected).then_some(())
    };
    server.console().find(&format!("{expected} of the kind {kind}"), enough).await;
    assert_eq!(total, expected, "{}", server.console());
    server.console().lines().into_iter().filter(|line| of_kind(line)).collect()
}

#[tokio::test]
async fn a_flood_of_resets_writes_few_lines_with_the_peer() {
    const CONNECTIONS: u32 = 300;
    let world = World::start(Store::Sqlite).await;
    let rapid_reset = |stream: u32| {
        let opened = frame(HEADERS, END_HEADERS, stream, &REQUEST);
        [opened, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    let flood: Vec<u8> = preface().into_iter().chain((0..200).flat_map(|at| rapid_reset(2 * at + 1))).collect();
    let attacks = (0..CONNECTIONS).map(|_| async { closed(send(world.address(), &flood).await).await });
    timeout(DEADLINE, join_all(attacks)).await.expect("each connection is closed");
    counted(&world, "flood", CONNECTIONS).await;
    let lines = logged(&world, "flood", CONNECTIONS).await;
    assert!(lines.len() * 10 <= CONNECTIONS as usize, "{} lines:\n{}", lines.len(), world.console());
    assert!(lines.iter().all(|line| line.contains(" WARN ") && line.contains(" peer=127.0.0.1 ")), "{lines:?}");
    let warnings = world.console().lines().into_iter().filter(|line| line.contains(" WARN "));
    assert_eq!(warnings.count(), lines.len(), "nothing else warns:\n{}", world.console());
    assert!(world.is_alive().await);
}

#[tokio::test]
async fn each_kind_of_error_is_counted_and_logged() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--max-connections", "2")).await;
    // A message for no stream at all.
    let violation = [preface(), frame(DATA, 0, 0, b"x")].concat();
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 32]].concat();
    for (kind, bytes) in [
        ("protocol_error", &violation[..]),
        ("malformed", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"),
        // Bytes that are no HTTP, such as the first ones of TLS.
        ("malformed", &hello),
    ] {
        timeout(DEADLINE, closed(send(world.address(), bytes).await)).await.expect("the connection is closed");
        // The place of the connection is free when it is counted as closed.
        eventually("one connection is left", async || {
            let open = world.metrics().await.sum("boxoffice_connection_active", &[])?;
            // The reader of the metrics has one, too.
            (open <= 2.0).then_some(kind)
        })
        .await;
    }
    let mut second = send(world.address(), &preface()).await;
    assert!(crate::harness::http2::is_served(&mut second).await);
    timeout(DEADLINE, closed(send(world.address(), &preface()).await)).await.expect("the connection is closed");
    for (kind, count) in [("protocol_error", 1), ("malformed", 2), ("refused", 1)] {
        counted(&world, kind, count).await;
        let lines = logged(&world, kind, count).await;
        assert!(lines.iter().all(|line| line.contains(" WARN ") && line.contains(" peer=127.0.0.1 ")), "{lines:?}");
    }
}

#[tokio::test]
async fn a_connection_that_answers_no_ping_is_counted() {
    let keepalive = [("--keepalive-interval", "1s"), ("--keepalive-timeout", "1s")];
    let world = World::with(Store::Sqlite, |setup| {
        keepalive.into_iter().fold(setup, |setup, (flag, value)| setup.with(flag, value))
    })
    .await;
    // It closes the connection by itself, which is no error. The connection of the test's client answers pings meanwhile.
    let end = frame(GOAWAY, 0, 0, &[0; 8]);
    timeout(DEADLINE, closed(send(world.address(), &[preface(), end].concat()).await)).await.expect("it is closed");
    timeout(DEADLINE, closed(send(world.address(), &preface()).await)).await.expect("the connection is closed");
    counted(&world, "unanswered", 1).await;
    let lines = logged(&world, "unanswered", 1).await;
    assert!(lines.iter().all(|line| line.contains(" INFO ") && line.contains(" peer=127.0.0.1 ")), "{lines:?}");
    assert!(world.is_alive().await);
    world.stop().await;
    let ended = world.console().lines().into_iter().filter(|line| line.contains("kind="));
    assert_eq!(ended.count(), lines.len(), "a shutdown is no error:\n{}", world.console());
}
