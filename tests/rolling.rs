//! Instances are replaced one after the other under load.
//!
//! `scripts/drills/rolling` runs this test with the binaries of two commits. Without it, each instance is replaced by one of the
//! same binary.

use std::{env, sync::Arc};

use tonic::{Code, Status};

use crate::harness::{
    Store,
    fleet::Fleet,
    history::{Call, History, Outcome},
    load::{self, Load, Requests},
    world::Storage,
};

/// Environment variable with the path of the binary that is replaced.
const FROM: &str = "ROLLING_FROM";
/// Environment variable with the path of the binary that replaces it.
const TO: &str = "ROLLING_TO";
/// Environment variable with the number of calls, 2000 by default.
const CALLS: &str = "ROLLING_CALLS";
/// So many that calls begin while a connection ends.
const CALLERS: usize = 200;

#[expect(clippy::disallowed_methods, reason = "the drill passes its binaries in the environment")]
#[tokio::test]
async fn a_release_replaces_the_one_before_under_load() {
    let storage = Storage::new(Store::Postgres).await;
    let setup_for = |variable: &str| {
        let setup = load::options(storage.setup());
        env::var(variable).map_or(setup.clone(), |program| setup.with_program(&program))
    };
    let calls = env::var(CALLS).map_or(2_000, |calls| calls.parse().expect("a number of calls"));
    let fleet = Arc::new(Fleet::start(2, setup_for(FROM)).await);
    let history = Arc::new(History::default());
    // The release before has no price lists, and does not give back or exchange seats.
    let requests = if env::var(FROM).is_ok() { Requests::OfTheReleaseBefore } else { Requests::All };
    let showtimes = load::showtimes_for(&fleet, requests).await;
    let load = Load::new(Arc::clone(&fleet), Arc::clone(&history), showtimes).with(requests);
    let (load, all) = load.start(calls, CALLERS);
    // During the first quarter of the calls both instances run the old release. During the next two quarters one instance runs
    // the old release and one the new release. During the last quarter both run the new release.
    let replace = async {
        for (at, quarter) in [(0, 1), (1, 3)] {
            load.wait_for_calls(calls * quarter / 4).await;
            fleet.replace(at, setup_for(TO)).await;
        }
    };
    tokio::join!(all, replace);
    history.settle(fleet.channel(0)).await;
    let calls = history.calls();
    for call in &calls {
        if let Outcome::Unknown(status) = &call.outcome {
            assert!(status.code() == Code::Unavailable || was_not_executed(status), "{call:?}");
            assert!(!was_not_executed(status) || was_first_executed_later(call, &calls), "it was executed: {call:?}");
        }
    }
    // No seat is sold twice, nothing that was acknowledged is missing, and every refusal had a reason.
    history.assert_holds(&storage.connect().await, &fleet.channels()).await;
}

/// Whether the call was begun while the end of its connection was on its way, and its client knows that it was not executed.
/// tonic's client does not give UNAVAILABLE then:
///
/// - INTERNAL, if the request was sent before the second GOAWAY arrived, which names the last call that is executed, or was
///   about to be sent when it arrived;
/// - CANCELLED, if it waited to be sent when the connection was closed.
fn was_not_executed(status: &Status) -> bool {
    let cause = format!("{status:?}");
    match status.code() {
        Code::Internal => cause.contains("GoAway(b\"\", NO_ERROR, Remote)"),
        Code::Cancelled => cause.contains("hyper::Error(Canceled, \"connection closed\")"),
        _ => false,
    }
}

/// Whether the request was first executed by another call. It is repeated until it is, and the answer to a repetition of an
/// executed request says so.
fn was_first_executed_later(call: &Call, calls: &[Call]) -> bool {
    let id = call.operation.request_id();
    let mut same = calls.iter().filter(|call| call.operation.request_id() == id);
    // Reads have no id. Another call without an answer, or one that was refused, may have been the first.
    id.is_empty()
        || same.any(|call| match &call.outcome {
            Outcome::Changed { replayed, .. } | Outcome::Blocked { replayed, .. } => !replayed,
            Outcome::Unknown(status) => !was_not_executed(status),
            _ => true,
        })
}
