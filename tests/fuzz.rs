//! Random requests: each is answered or refused with a reason, never with INTERNAL or UNKNOWN, and the server stays alive.

use proptest::{
    collection::vec,
    prelude::{BoxedStrategy, Just, Strategy, any},
    prop_oneof,
    sample::select,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};
use tonic::Code;

use crate::harness::{
    DEADLINE, Server, Store, World,
    contract::{good_request, methods, path, pool},
    raw,
    requests::INCEPTION,
    seats::{reserve, showtime, these},
};

/// Requests for each method.
const CASES: u32 = 100;

#[test]
fn the_server_survives_arbitrary_bytes() {
    let (runtime, world) = world();
    for method in methods(&pool()) {
        let good = good_request(&method.input()).encode_to_vec();
        // Random bytes, and good requests with a few bytes changed.
        let changed = vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6).prop_map(move |changes| {
            let mut bytes = good.clone();
            for (index, byte) in changes {
                // A request without fields has no bytes to change.
                match bytes.len() {
                    0 => bytes.push(byte),
                    length => bytes[index.index(length)] = byte,
                }
            }
            bytes
        });
        let bytes = prop_oneof![vec(any::<u8>(), 0..200), changed];
        send_all(&runtime, &world, &method, &bytes.boxed());
    }
}

#[test]
fn the_server_survives_arbitrary_messages() {
    let (runtime, world) = world();
    let showtime = runtime.block_on(showtime(&world));
    let held = runtime.block_on(reserve(&world, these(&showtime, "ada", "A1"))).expect("the seat is free");
    let auditorium = showtime.auditorium.expect("a showtime has an auditorium").auditorium_id;
    let existing = [auditorium, showtime.showtime_id, held.reservation_id, held.customer_id];
    for method in methods(&pool()) {
        let messages = message(&method.input(), &existing, 3).prop_map(|message| message.encode_to_vec());
        send_all(&runtime, &world, &method, &messages.boxed());
    }
}

fn world() -> (Runtime, World) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let world = runtime.block_on(World::start(Store::Sqlite));
    (runtime, world)
}

/// Sends the requests one after another. Fails with the smallest request that gets no answer or a wrong kind of error.
fn send_all(runtime: &Runtime, world: &World, method: &MethodDescriptor, requests: &BoxedStrategy<Vec<u8>>) {
    let (path, streams) = (path(method), method.is_server_streaming());
    let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let outcome = TestRunner::new(config).run(requests, |request| {
        // A random request can be valid, and a stream that it opens has no end, so only its first message is read.
        let call = async {
            if streams {
                raw::first(world.channel(), &path, request).await
            } else {
                raw::call(world.channel(), &path, request).await
            }
        };
        let call = async { timeout(DEADLINE, call).await };
        let answer = runtime.block_on(call);
        let fail = |why: String| Err(TestCaseError::fail(why));
        match answer {
            Err(_) => fail("no answer".to_owned()),
            Ok(Err(status)) if matches!(status.code(), Code::Internal | Code::Unknown | Code::Unimplemented) => {
                fail(format!("{status:?}"))
            }
            Ok(_) => Ok(()),
        }
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, request)) => panic!("{path}: {why}\nfor {request:02x?}\n{}", world.console()),
        Err(TestError::Abort(why)) => panic!("{path}: {why}"),
    }
    assert!(runtime.block_on(alive(world)), "{path}: the server does not answer any more\n{}", world.console());
}

async fn alive(server: &Server) -> bool {
    server.is_alive().await
}

/// A message with random fields set to random values. `existing` are ids and names that the server has.
fn message(descriptor: &MessageDescriptor, existing: &[String], depth: u32) -> BoxedStrategy<DynamicMessage> {
    let mut filled = Just(DynamicMessage::new(descriptor.clone())).boxed();
    for field in descriptor.fields() {
        let value = proptest::option::of(value(&field, existing, depth));
        filled = (filled, value)
            .prop_map(move |(mut message, value)| {
                if let Some(value) = value {
                    message.set_field(&field, value);
                }
                message
            })
            .boxed();
    }
    filled
}

fn value(field: &FieldDescriptor, existing: &[String], depth: u32) -> BoxedStrategy<Value> {
    let one = match field.kind() {
        Kind::String => text(existing),
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::Int32 => prop_oneof![any::<i32>(), -2..1001, Just(500_000_000)].prop_map(Value::I32).boxed(),
        // Includes the seconds of times around now, so that many times are valid.
        Kind::Int64 => {
            prop_oneof![any::<i64>(), -2..100_000_i64, 1_700_000_000..2_000_000_000_i64].prop_map(Value::I64).boxed()
        }
        Kind::Message(inner) => match depth {
            0 => Just(Value::Message(DynamicMessage::new(inner))).boxed(),
            _ => message(&inner, existing, depth - 1).prop_map(Value::Message).boxed(),
        },
        Kind::Enum(_) => prop_oneof![any::<i32>(), -1..6].prop_map(Value::EnumNumber).boxed(),
        other => panic!("{}: add a strategy for {other:?} here", field.full_name()),
    };
    if field.is_list() { vec(one, 0..12).prop_map(Value::List).boxed() } else { one }
}

fn text(existing: &[String]) -> BoxedStrategy<Value> {
    let likely = ["", INCEPTION, "Europe/Madrid", "EUR", "JPY", "2027-02-28", "ss_sa.c", "A", "\0", "%", "' OR 1=1 --"];
    let likely: Vec<String> = likely.into_iter().map(str::to_owned).chain(existing.iter().cloned()).collect();
    prop_oneof![
        3 => select(likely),
        1 => any::<String>(),
        1 => "[A-Z]{1,3}",
        1 => "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
        1 => "[0-9]{4}-[0-9]{2}-[0-9]{2}",
        1 => "\\PC{90,110}",
    ]
    .prop_map(Value::String)
    .boxed()
}
