//! Instances are replaced one after the other while callers go on.
//!
//! `scripts/drills/rolling` runs this with the binaries of two commits. By itself it replaces each instance by another one of
//! the binary under test.

use std::{env, sync::Arc};

use tonic::Code;

use crate::harness::{
    Store,
    fleet::Fleet,
    history::{History, Told},
    load::{self, Load},
    world::Ground,
};

/// The binaries, the calls and the callers of the drill.
const FROM: &str = "ROLLING_FROM";
const TO: &str = "ROLLING_TO";
const CALLS: &str = "ROLLING_CALLS";
const CALLERS: usize = 24;

#[expect(clippy::disallowed_methods, reason = "the drill names its binaries in the environment")]
#[tokio::test]
async fn a_release_replaces_the_one_before_under_load() {
    let ground = Ground::new(Store::Postgres).await;
    let of = |variable: &str| {
        let setup = load::options(ground.setup());
        env::var(variable).map_or(setup.clone(), |program| setup.with_program(&program))
    };
    let calls = env::var(CALLS).map_or(2_000, |calls| calls.parse().expect("a number of calls"));
    let fleet = Arc::new(Fleet::start(2, of(FROM)).await);
    let history = Arc::new(History::default());
    let showtimes = load::showtimes(&fleet).await;
    let (load, all) = Load::new(Arc::clone(&fleet), Arc::clone(&history), showtimes).start(calls, CALLERS);
    // Both are of the release before, then one of each release, then both of the new one: each for a quarter of the calls.
    let replace = async {
        for (at, quarter) in [(0, 1), (1, 3)] {
            load.reached(calls * quarter / 4).await;
            fleet.replace(at, of(TO)).await;
        }
    };
    tokio::join!(all, replace);
    history.settle(fleet.channel(0)).await;
    for call in history.calls() {
        if let Told::Unknown(status) = &call.told {
            assert_eq!(status.code(), Code::Unavailable, "{call:?}");
        }
    }
    // No seat is sold twice, nothing that was acknowledged is missing, and every refusal had a reason.
    history.assert_holds(&ground.connect().await, &fleet.channels()).await;
}
