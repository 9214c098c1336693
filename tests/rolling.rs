//! Instances are replaced one after the other under load.
//!
//! `scripts/drills/rolling` runs this test with the binaries of two commits. Without it, each instance is replaced by one of the
//! same binary.

use std::{env, sync::Arc};

use tonic::Code;

use crate::harness::{
    Store,
    fleet::Fleet,
    history::{History, Outcome},
    load::{self, Load},
    world::Storage,
};

/// Environment variable with the path of the binary that is replaced.
const FROM: &str = "ROLLING_FROM";
/// Environment variable with the path of the binary that replaces it.
const TO: &str = "ROLLING_TO";
/// Environment variable with the number of calls, 2000 by default.
const CALLS: &str = "ROLLING_CALLS";
const CALLERS: usize = 24;

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
    let showtimes = load::showtimes(&fleet).await;
    let (load, all) = Load::new(Arc::clone(&fleet), Arc::clone(&history), showtimes).start(calls, CALLERS);
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
    for call in history.calls() {
        if let Outcome::Unknown(status) = &call.outcome {
            // tonic's client gives INTERNAL to a call that is in flight when its connection ends after a GOAWAY without error.
            let ended =
                status.code() == Code::Internal && format!("{status:?}").contains("GoAway(b\"\", NO_ERROR, Remote)");
            assert!(status.code() == Code::Unavailable || ended, "{call:?}");
        }
    }
    // No seat is sold twice, nothing that was acknowledged is missing, and every refusal had a reason.
    history.assert_holds(&storage.connect().await, &fleet.channels()).await;
}
