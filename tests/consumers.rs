//! The consumers in `examples/consumers`: each event has its effect once, wherever the consumer or the broker begins again.

use std::{path::Path, process::Command};

use boxoffice::pb::boxoffice::v1::Showtime;

use crate::harness::{
    Redis, Server, Store,
    clients::installed,
    events::delivered,
    seats::{best, confirm, reserve, showtime},
    server::binary,
    world::Storage,
};

/// The id of an entry of the stream, and its fields.
type Entry = (String, Vec<(String, Vec<u8>)>);

async fn sell(server: &Server, showtime: &Showtime, customer: &str, seats: i32) {
    let held = reserve(server, best(showtime, customer, seats)).await.expect("there are seats");
    confirm(server, &held).await.expect("the seats are held");
}

#[tokio::test]
async fn a_consumer_of_the_redis_stream_counts_every_sale_once() {
    let (storage, redis) = (Storage::new(Store::Sqlite).await, Redis::start().await);
    let server = storage.setup().with("--sink", redis.url()).start().await;
    let descriptors = storage.folder().join("descriptors.bin");
    let written = binary().args(["descriptors", "--out"]).arg(&descriptors).status();
    assert!(written.expect("the program runs").success());
    let consume = || {
        let mut consumer = Command::new(&installed().python);
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/consumers/redis_stream.py");
        consumer.arg(program).arg(redis.url()).arg(&descriptors).arg(storage.folder().join("sold.db")).arg("--once");
        let output = consumer.output().expect("Python runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let showtime = showtime(&server).await;
    sell(&server, &showtime, "ada", 2).await;
    delivered(&server).await;
    assert_eq!(consume(), format!("{} 2\n", showtime.showtime_id));
    // The last event comes again, under an id of its own.
    let client = redis::Client::open(redis.url()).expect("a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("Redis listens");
    let mut last = redis::cmd("XREVRANGE");
    last.arg("boxoffice:events").arg("+").arg("-").arg("COUNT").arg(1);
    let last: Vec<Entry> = last.query_async(&mut connection).await.expect("an entry");
    let (id, fields) = &last[0];
    let mut again = redis::cmd("XADD");
    again.arg("boxoffice:events").arg(id.replace("-0", "-1"));
    for (name, value) in fields {
        again.arg(name).arg(value);
    }
    again.query_async::<String>(&mut connection).await.expect("the id is higher");
    sell(&server, &showtime, "bob", 3).await;
    delivered(&server).await;
    assert_eq!(consume(), format!("{} 5\n", showtime.showtime_id));
    assert_eq!(consume(), format!("{} 5\n", showtime.showtime_id));
}
