//! Clients that mean harm: what they send and do not take costs little memory, and honest callers are served meanwhile.

use boxoffice::pb::boxoffice::v1::{GetShowtimeRequest, ListShowtimesRequest, showtimes_client::ShowtimesClient};
use bytes::Bytes;
use futures_util::future::join_all;
use prost::Message as _;

use crate::harness::{
    Store, World, attacker::Attacker, create_auditorium, eventually, grpc_web, in_hours, new_showtime,
};

const GET_SHOWTIME: &str = "/boxoffice.v1.Showtimes/GetShowtime";
const LIST_SHOWTIMES: &str = "/boxoffice.v1.Showtimes/ListShowtimes";
const WATCH: &str = "/boxoffice.v1.Showtimes/WatchSeatMap";
/// Showtimes of one page, whose answer has nearly 64 KiB.
const PAGE: i32 = 128;
/// The growth of the memory, in MiB, that an attack may cause.
const MAX_GROWTH: u64 = 64;
/// The calls of an honest client during an attack.
const HONEST_CALLS: usize = 100;

#[tokio::test]
async fn answers_that_nobody_takes_are_bounded() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--delivery-timeout", "4s")).await;
    let page = large_page(&world).await;
    let before = world.memory();
    let mut attackers = attackers(&world, 40, 0).await;
    let attack = attack(&mut attackers, 256, (LIST_SHOWTIMES, &page, true));
    let (_, refused) = tokio::join!(attack, honest_calls(&world));
    assert_served(refused, HONEST_CALLS);
    // The attackers are still connected when all has been given back.
    nothing_is_kept(&world).await;
    assert_growth(&world, before);
    drop(attackers);
}

#[tokio::test]
async fn answers_that_are_not_read_from_their_connection_are_bounded() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--delivery-timeout", "4s")).await;
    let page = large_page(&world).await;
    let before = world.memory();
    let mut attackers = attackers(&world, 40, (1 << 31) - 1).await;
    attack(&mut attackers, 1, (LIST_SHOWTIMES, &page, true)).await;
    attackers.iter().for_each(Attacker::stop_reading);
    let attack = attack(&mut attackers, 256, (LIST_SHOWTIMES, &page, true));
    let (_, refused) = tokio::join!(attack, honest_calls(&world));
    assert_served(refused, HONEST_CALLS);
    nothing_is_kept(&world).await;
    assert_growth(&world, before);
    drop(attackers);
}

#[tokio::test]
async fn messages_that_never_end_are_bounded() {
    let world = World::start(Store::Sqlite).await;
    let before = world.memory();
    // A prefix that announces 250,000 bytes, of which all but one come.
    let mut unfinished = vec![0; 5 + 249_999];
    unfinished[1..5].copy_from_slice(&250_000_u32.to_be_bytes());
    let unfinished = Bytes::from(unfinished);
    let mut attackers = attackers(&world, 4, 1 << 16).await;
    let attack = attack(&mut attackers, 800, (LIST_SHOWTIMES, &unfinished, false));
    let (begun, refused) = tokio::join!(attack, honest_calls(&world));
    assert_eq!(begun, 4 * 800, "no connection was closed");
    assert_served(refused, HONEST_CALLS);
    assert_growth(&world, before);
    drop(attackers);
    nothing_is_kept(&world).await;
}

#[tokio::test]
async fn calls_without_a_message_leave_room_for_honest_callers() {
    let world = World::start(Store::Sqlite).await;
    let mut attackers = attackers(&world, 5, 1 << 16).await;
    let before = world.memory();
    let begun = attack(&mut attackers, 1_024, (LIST_SHOWTIMES, &Bytes::new(), false)).await;
    assert_eq!(begun, 5 * 1_024, "no connection was closed");
    // They are sent, and arrive a little later; not all of them, since refusals slow their connections down.
    eventually("most calls have arrived", async || {
        let metrics = world.metrics().await;
        let in_flight = metrics.sum("boxoffice_request_active", &[]).unwrap_or_default();
        let ended = metrics.sum("boxoffice_request_duration_seconds_count", &["ListShowtimes"]).unwrap_or_default();
        (in_flight + ended >= 4_000.0).then_some(())
    })
    .await;
    assert_served(honest_calls(&world).await, HONEST_CALLS);
    assert_growth(&world, before);
    drop(attackers);
    nothing_is_kept(&world).await;
}

#[tokio::test]
async fn small_answers_that_nobody_takes_are_bounded() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--connection-memory", "8")).await;
    let showtime = one_showtime(&world).await;
    let call = Bytes::from(grpc_web::frame(&GetShowtimeRequest { showtime_id: showtime, ..Default::default() }));
    let mut attackers = attackers(&world, 100, 0).await;
    let mut refused = 0;
    for _ in 0..4 {
        attack(&mut attackers, 100, (GET_SHOWTIME, &call, true)).await;
        refused += honest_calls(&world).await;
    }
    assert_served(refused, 4 * HONEST_CALLS);
    // The requests that were in flight when the 8 MiB were used are answered, too.
    let kept = world.metrics().await.sum("boxoffice_connection_bytes", &[]).expect("a metric");
    assert!(kept < f64::from(28 << 20), "{kept} bytes");
    drop(attackers);
    nothing_is_kept(&world).await;
}

/// Each of many connections holds too little to be closed for another one.
#[tokio::test]
async fn many_connections_that_each_hold_little_leave_room_for_honest_callers() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--delivery-timeout", "4s")).await;
    let page = large_page(&world).await;
    let before = world.memory();
    // Half of them take no page, and half send calls without a message.
    let (mut taking_none, mut sending_none) = (attackers(&world, 500, 0).await, attackers(&world, 500, 0).await);
    attack(&mut taking_none, 1, (LIST_SHOWTIMES, &page, true)).await;
    attack(&mut sending_none, 4, (LIST_SHOWTIMES, &Bytes::new(), false)).await;
    assert_served(honest_calls(&world).await, HONEST_CALLS);
    assert_growth(&world, before);
    drop((taking_none, sending_none));
    nothing_is_kept(&world).await;
}

/// A proxy, or another client with many callers, holds more than a single caller.
#[tokio::test]
async fn a_connection_with_many_callers_is_served_during_an_attack() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--delivery-timeout", "4s")).await;
    let page = large_page(&world).await;
    let mut attackers = attackers(&world, 10, 0).await;
    let attack = attack(&mut attackers, 256, (LIST_SHOWTIMES, &page, true));
    let channel = world.connect().await.expect("the server listens");
    let honest = join_all((0..40).map(async |_| {
        let mut client = ShowtimesClient::new(channel.clone());
        let mut refused = 0;
        for _ in 0..HONEST_CALLS / 10 {
            let request = ListShowtimesRequest { page_size: PAGE / 4, ..Default::default() };
            refused += usize::from(client.list_showtimes(request).await.is_err());
        }
        refused
    }));
    let (_, refused) = tokio::join!(attack, honest);
    assert_served(refused.into_iter().sum(), 4 * HONEST_CALLS);
    drop(attackers);
    nothing_is_kept(&world).await;
}

#[tokio::test]
async fn clients_that_take_nothing_do_not_hold_up_a_drain() {
    // Their connections are closed after 3 s at most.
    let world = World::with(Store::Sqlite, |setup| setup.with("--drain-timeout", "5s")).await;
    let page = large_page(&world).await;
    let request = ListShowtimesRequest { page_size: 1, ..Default::default() };
    let showtime = world.showtimes().list_showtimes(request).await.expect("a page").into_inner().showtimes.remove(0);
    let watch =
        boxoffice::pb::boxoffice::v1::WatchSeatMapRequest { showtime_id: showtime.showtime_id, ..Default::default() };
    // One takes no data, another reads nothing at all from its connection.
    for (window, reads) in [(0, true), (1 << 20, false)] {
        let mut attacker = Attacker::connect(world.address(), window).await;
        attacker.begin(WATCH, "1H", grpc_web::frame(&watch).into(), true).await;
        attacker.begin(LIST_SHOWTIMES, "30S", page.clone(), true).await;
        if !reads {
            attacker.stop_reading();
        }
        eventually("the watch has begun", async || {
            let watchers = world.metrics().await.sum("boxoffice_request_active", &[]);
            watchers.is_some_and(|active| active >= 1.0).then_some(())
        })
        .await;
        std::mem::forget(attacker);
    }
    world.stop().await;
    let exceeded = world.console().lines().into_iter().find(|line| line.contains("did not end in time"));
    assert_eq!(exceeded, None, "the drain took longer than --drain-timeout");
}

/// Creates showtimes, and returns a request for a page of them as its client sends it.
async fn large_page(world: &World) -> Bytes {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    for slot in 0..PAGE {
        let request = new_showtime(&auditorium, in_hours(3 * i64::from(slot)));
        world.showtimes().create_showtime(request).await.expect("the slot is free");
    }
    let request = ListShowtimesRequest { page_size: PAGE, ..Default::default() };
    let bytes = world.showtimes().list_showtimes(request.clone()).await.expect("a page").into_inner().encoded_len();
    assert!((55_000..65_000).contains(&bytes), "the page has {bytes} bytes");
    grpc_web::frame(&request).into()
}

/// Creates a showtime and returns its id.
async fn one_showtime(world: &World) -> String {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let created = world.showtimes().create_showtime(new_showtime(&auditorium, in_hours(3))).await;
    created.expect("a showtime").into_inner().showtime.expect("the showtime").showtime_id
}

async fn attackers(world: &World, number: usize, window: u32) -> Vec<Attacker> {
    join_all((0..number).map(|_| Attacker::connect(world.address(), window))).await
}

/// Begins so many calls on each of these connections, or until it is closed. A call has a path, a body, and whether the body
/// ends. Returns how many were begun.
async fn attack(attackers: &mut [Attacker], calls: usize, (path, body, ends): (&str, &Bytes, bool)) -> usize {
    let begun = attackers.iter_mut().map(async |attacker| {
        for call in 0..calls {
            if !attacker.begin(path, "30S", body.clone(), ends).await {
                return call;
            }
        }
        calls
    });
    join_all(begun).await.into_iter().sum()
}

/// At most one honest call in twenty may be refused.
fn assert_served(refused: usize, calls: usize) {
    assert!(refused <= calls / 20, "{refused} honest calls of {calls} were refused");
}

fn assert_growth(world: &World, before: u64) {
    let growth = world.peak_memory() - before;
    assert!(growth <= MAX_GROWTH, "{growth} MiB");
}

/// Makes calls on connections of their own, and returns how many were refused.
async fn honest_calls(world: &World) -> usize {
    let mut refused = 0;
    for call in 0..HONEST_CALLS {
        let channel = world.connect().await.expect("the server listens");
        let page_size = if call % 2 == 0 { 1 } else { PAGE };
        let request = ListShowtimesRequest { page_size, ..Default::default() };
        if let Err(status) = ShowtimesClient::new(channel).list_showtimes(request).await {
            println!("an honest call was refused: {status:?}");
            refused += 1;
        }
    }
    refused
}

async fn nothing_is_kept(world: &World) {
    eventually("nothing is charged to connections", async || {
        let bytes = world.metrics().await.sum("boxoffice_connection_bytes", &[]);
        (bytes == Some(0.0)).then_some(())
    })
    .await;
}
