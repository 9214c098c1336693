//! Tests of the whole room against the real demo provider over loopback, with a manual clock.

mod demo;
mod entry;
mod failures;
mod reading;
mod redis;
mod single_flight;
mod tls;
mod wire;

use std::{net::SocketAddr, time::Duration};

use chrono::{DateTime, TimeDelta};
use tokio::{net::TcpListener, task::JoinHandle, time};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::{Movies, Options, ProviderOptions, demo as provider};
use crate::{
    clock::{Clock, ManualClock},
    domain::movie::{MovieId, Source},
    pb::boxoffice::demo::v1::{FaultSettings, GetFaultsRequest, SetFaultsRequest, faults_client::FaultsClient},
};

const FRESH: Duration = Duration::from_mins(10);
const STALE: Duration = Duration::from_hours(1);
const ABSENT: Duration = Duration::from_secs(30);

/// A demo provider on a free port. It ends with the test.
struct Demo {
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), provider::ServeError>>,
    faults: FaultsClient<Channel>,
}

impl Demo {
    async fn start() -> Self {
        Self::with(provider::Options::default()).await
    }

    async fn with(options: provider::Options) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), options).await
    }

    async fn at(address: SocketAddr, options: provider::Options) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(provider::serve(listener, options, shutdown.clone()));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { address, shutdown, serving, faults: FaultsClient::new(channel) }
    }

    async fn set(&mut self, faults: FaultSettings) {
        self.faults.set_faults(SetFaultsRequest { faults: Some(faults) }).await.unwrap();
    }

    /// The number of calls for movies so far.
    async fn calls(&mut self) -> i64 {
        self.faults.get_faults(GetFaultsRequest {}).await.unwrap().into_inner().call_count
    }

    fn options(&self) -> Options {
        Options {
            provider: ProviderOptions {
                url: format!("http://{}", self.address),
                api_key: None,
                ca_pem: None,
                insecure: false,
                timeout: Duration::from_secs(5),
                attempts: 3,
            },
            redis: None,
            fresh: FRESH,
            stale: STALE,
            absent: ABSENT,
        }
    }

    fn movies(&self) -> (Movies, ManualClock) {
        movies_with(&self.options())
    }
}

/// Reads a movie until the answer is live.
async fn until_live(movies: &Movies) {
    let live = async {
        while !movies.movie(&inception()).await.is_ok_and(|movie| movie.source == Source::Live) {
            time::sleep(Duration::from_millis(20)).await;
        }
    };
    time::timeout(Duration::from_secs(30), live).await.expect("the provider is back");
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn movies_with(options: &Options) -> (Movies, ManualClock) {
    let clock = ManualClock::new(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
    (Movies::new(options, Clock::Manual(clock.clone())).unwrap(), clock)
}

fn advance(clock: &ManualClock, by: Duration) {
    clock.advance(TimeDelta::from_std(by).unwrap());
}

fn inception() -> MovieId {
    MovieId::parse("tt1375666").unwrap()
}

fn unknown() -> MovieId {
    MovieId::parse("tt0000000").unwrap()
}

fn outage() -> FaultSettings {
    FaultSettings { outage: true, ..FaultSettings::default() }
}

fn black_hole() -> FaultSettings {
    FaultSettings { black_hole: true, ..FaultSettings::default() }
}

fn no_faults() -> FaultSettings {
    FaultSettings::default()
}
