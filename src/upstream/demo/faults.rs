//! The faults that the demo provider simulates. They are set in the configuration and can be changed while it runs.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::time;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::{
    clock::Clock,
    pb::boxoffice::demo::v1::{
        FaultSettings, GetFaultsRequest, GetFaultsResponse, SetFaultsRequest, SetFaultsResponse,
        faults_server::Faults as FaultsService,
    },
};

/// The largest latency and the largest jitter.
const MAX_DELAY: Duration = Duration::from_hours(1);

/// The faults of each call for movies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The delay of every answer.
    pub latency: Duration,
    /// A further delay of every answer: random, at most this long, evenly distributed.
    pub jitter: Duration,
    /// The share of calls that fail with a gRPC error, in per cent.
    pub failure_percent: u8,
    /// The share of calls that fail in band, in per cent. If both shares add up to more than 100, gRPC errors take
    /// precedence.
    pub in_band_percent: u8,
    /// Whether every call fails at once.
    pub outage: bool,
    /// Whether every call is accepted and never answered.
    pub black_hole: bool,
}

/// How a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    Answer,
    FailInBand,
}

/// The present faults, shared by all calls.
#[derive(Clone)]
pub(super) struct SharedFaults(Arc<Inner>);

struct Inner {
    faults: Mutex<Faults>,
    calls: AtomicI64,
    shutdown: CancellationToken,
}

impl SharedFaults {
    pub(super) fn new(faults: Faults, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Inner { faults: Mutex::new(faults), calls: AtomicI64::new(0), shutdown }))
    }

    /// Applies the faults to one call. A shutdown ends every delay.
    pub(super) async fn apply(&self) -> Result<Reaction, Status> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        let faults = self.faults();
        tokio::select! {
            reaction = faults.apply() => reaction,
            () = self.0.shutdown.cancelled() => Err(Status::unavailable("the demo provider is shutting down")),
        }
    }

    fn faults(&self) -> Faults {
        *self.0.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Faults {
    async fn apply(self) -> Result<Reaction, Status> {
        if self.black_hole {
            std::future::pending::<()>().await;
        }
        if self.outage {
            return Err(Status::unavailable("the demo provider simulates an outage"));
        }
        let delay = self.latency + self.jitter.mul_f64(Clock::System.fraction());
        if !delay.is_zero() {
            time::sleep(delay).await;
        }
        let draw = Clock::System.fraction() * 100.0;
        if draw < f64::from(self.failure_percent) {
            Err(Status::unavailable("the demo provider simulates a failure"))
        } else if draw < f64::from(self.failure_percent) + f64::from(self.in_band_percent) {
            Ok(Reaction::FailInBand)
        } else {
            Ok(Reaction::Answer)
        }
    }

    fn read(settings: &FaultSettings) -> Result<Self, Status> {
        let percent = |name: &str, value: i32| match u8::try_from(value) {
            Ok(percent @ 0..=100) => Ok(percent),
            _ => Err(Status::invalid_argument(format!("{name} must be from 0 to 100, and is {value}"))),
        };
        let duration = |name: &str, value: Option<prost_types::Duration>| {
            let value = value.unwrap_or_default();
            let valid = Duration::try_from(value).ok().filter(|valid| *valid <= MAX_DELAY);
            valid.ok_or_else(|| Status::invalid_argument(format!("{name} must be from 0s to 3600s, and is {value}")))
        };
        Ok(Self {
            latency: duration("latency", settings.latency)?,
            jitter: duration("jitter", settings.jitter)?,
            failure_percent: percent("failure_percent", settings.failure_percent)?,
            in_band_percent: percent("in_band_percent", settings.in_band_percent)?,
            outage: settings.outage,
            black_hole: settings.black_hole,
        })
    }

    fn settings(self) -> FaultSettings {
        // Neither is longer than an hour, so the conversion cannot fail.
        let duration = |value: Duration| prost_types::Duration::try_from(value).ok();
        FaultSettings {
            latency: duration(self.latency),
            jitter: duration(self.jitter),
            failure_percent: self.failure_percent.into(),
            in_band_percent: self.in_band_percent.into(),
            outage: self.outage,
            black_hole: self.black_hole,
        }
    }
}

#[tonic::async_trait]
impl FaultsService for SharedFaults {
    async fn get_faults(&self, _: Request<GetFaultsRequest>) -> Result<Response<GetFaultsResponse>, Status> {
        let call_count = self.0.calls.load(Ordering::Relaxed);
        Ok(Response::new(GetFaultsResponse { faults: Some(self.faults().settings()), call_count }))
    }

    async fn set_faults(&self, request: Request<SetFaultsRequest>) -> Result<Response<SetFaultsResponse>, Status> {
        let faults = Faults::read(&request.into_inner().faults.unwrap_or_default())?;
        *self.0.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
        Ok(Response::new(SetFaultsResponse { faults: Some(faults.settings()) }))
    }
}
