//! With few open files allowed, further connections are refused at once, and the service works for those that it has.

use std::process::Output;

use boxoffice::pb::boxoffice::v1::{ListAuditoriumsRequest, ListShowtimesRequest};
use futures_util::future::{join_all, try_join_all};
use rustix::process::Resource;
use tokio::time::timeout;

use crate::harness::{
    DEADLINE, Server, Store, World, eventually,
    http2::{is_served, preface, send},
    raw,
    seats::{best, reserve, showtime},
    server::Setup,
    supervisor,
};

on_both_stores!(
    with |setup| setup.with_open_files(256, 256);
    connections_beyond_the_limit_are_refused_and_the_others_served,
);

/// What the start says about `--max-connections`, if it lowers it.
fn lowered(text: &str) -> Option<u32> {
    let rest = text.split("--max-connections is lowered from 10000 to ").nth(1)?;
    rest.split(':').next()?.parse().ok()
}

async fn connections_beyond_the_limit_are_refused_and_the_others_served(world: World) {
    const CONNECTIONS: u32 = 400;
    let most = world.console().find("that --max-connections is lowered", lowered).await;
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        streams.push(send(world.address(), &preface()).await);
    }
    let served = timeout(DEADLINE, join_all(streams.iter_mut().map(is_served))).await.expect("nobody has to wait");
    let served = served.into_iter().map(u32::from).sum::<u32>();
    // The test has one connection already.
    assert_eq!(served + 1, most, "{}", world.console());

    // All connections to the database are used while none is left for callers.
    let showtime = showtime(&world).await;
    let calls = (0..200).map(|at| {
        let (mut client, request) =
            (world.showtimes(), ListShowtimesRequest { page_size: at % 50 + 1, ..Default::default() });
        async move { client.list_showtimes(request).await }
    });
    try_join_all(calls).await.expect("the database can be read");
    try_join_all((0..5).map(|at| reserve(&world, best(&showtime, &format!("customer-{at}"), 1))))
        .await
        .expect("the database can be written");

    let metrics = world.metrics().await;
    let refused = metrics.sum("boxoffice_connection_errors_total", &["kind=\"refused\""]);
    assert_eq!(refused, Some(f64::from(CONNECTIONS - served)));
    let warnings: Vec<_> = world.console().lines().into_iter().filter(|line| line.contains(" WARN ")).collect();
    assert!(warnings.len() < 20, "{warnings:?}");
    drop(streams);
    // A connection is made before the server refuses it.
    eventually("the closed connections make room", async || {
        let channel = world.connect().await.ok()?;
        raw::call(channel, "/boxoffice.v1.Auditoriums/ListAuditoriums", vec![]).await.ok()
    })
    .await;
}

#[tokio::test]
async fn the_soft_limit_is_raised_at_start() {
    let setup = |setup: Setup| setup.with_open_files(64, 1_024).with("--max-connections", "300");
    let world = World::with(Store::Sqlite, setup).await;
    assert_eq!(world.open_files_limit(), "1024");
    world.console().line(&["the soft limit on open files was raised from 64 to 1024"]).await;
    assert!(!world.console().lines().iter().any(|line| line.contains("is lowered")), "{}", world.console());
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(send(world.address(), &preface()).await);
    }
    let served = timeout(DEADLINE, join_all(streams.iter_mut().map(is_served))).await.expect("nobody has to wait");
    assert!(served.into_iter().all(|served| served));
}

#[test]
fn check_config_says_what_a_start_lowers() {
    let folder = supervisor::folder("open-files-");
    let check = |setup: Setup| -> String {
        let Output { status, stdout, .. } = setup.command("check-config").output().expect("the binary runs");
        assert!(status.success(), "{status}");
        String::from_utf8(stdout).expect("UTF-8")
    };
    let report = check(Setup::new(folder.path()).with_open_files(64, 256));
    assert!(lowered(&report).is_some_and(|most| (1..256).contains(&most)), "{report}");
    toml::from_str::<toml::Table>(&report).expect("it has the form of the file");
    let report = check(Setup::new(folder.path()).with_open_files(64, 1_024).with("--max-connections", "300"));
    assert!(!report.contains("is lowered"), "{report}");
}

/// The limit is taken away from a running server, since one that starts leaves itself enough.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn without_files_the_listener_goes_on_trying_and_writes_few_lines() {
    let world = World::start(Store::Sqlite).await;
    // A client can connect before the server accepts it, but not be answered.
    list(&world).await;
    let before = world.limit(Resource::Nofile, 1);
    let mut waiting = send(world.address(), &preface()).await;
    let (mut lines, mut attempts) = (0, 0);
    let count = |line: &str| {
        if line.contains("connections could not be accepted") {
            assert!(line.contains(" WARN ") && line.contains("too many open files"), "{line}");
            let count = line.split(" count=").nth(1).and_then(|rest| rest.split_whitespace().next());
            attempts += count.expect("a line has its count").parse::<usize>().expect("a number");
            lines += 1;
        }
        (lines >= 3).then_some(())
    };
    world.console().find("three lines about connections", count).await;
    // Every attempt that fails would be a line without the summary.
    assert!(attempts >= 3 * lines, "{attempts} attempts in {lines} lines:\n{}", world.console());
    list(&world).await;
    world.limit(Resource::Nofile, before);
    assert!(timeout(DEADLINE, is_served(&mut waiting)).await.expect("it is accepted"));
}

async fn list(server: &Server) {
    server.auditoriums().list_auditoriums(ListAuditoriumsRequest::default()).await.expect("a connection goes on");
}
