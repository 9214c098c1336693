//! The knobs: what the demo provider does to its callers, set in configuration and turned while it runs.

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

/// More latency or jitter than this is refused: nobody waits so long.
const LONGEST: Duration = Duration::from_hours(1);

/// What happens to each call for movies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Every answer is this late.
    pub latency: Duration,
    /// And up to this much later, evenly spread.
    pub jitter: Duration,
    /// Per cent of calls that fail with a gRPC error.
    pub failure_percent: u8,
    /// Per cent of calls that fail in band. Both shares together end at 100: gRPC errors come first.
    pub in_band_percent: u8,
    /// Every call fails at once.
    pub outage: bool,
    /// Every call is taken and never answered.
    pub black_hole: bool,
}

/// What befell one call that is answered after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Well,
    FailsInBand,
}

/// The knobs as they stand, shared by all calls.
#[derive(Clone)]
pub(super) struct Moods(Arc<Inner>);

struct Inner {
    faults: Mutex<Faults>,
    calls: AtomicI64,
    shutdown: CancellationToken,
}

impl Moods {
    pub(super) fn new(faults: Faults, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Inner { faults: Mutex::new(faults), calls: AtomicI64::new(0), shutdown }))
    }

    /// Lets one call suffer. Nothing here outlasts the shutdown.
    pub(super) async fn befall(&self) -> Result<Fate, Status> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        let faults = self.faults();
        tokio::select! {
            fate = faults.befall() => fate,
            () = self.0.shutdown.cancelled() => Err(Status::unavailable("the demo provider is shutting down")),
        }
    }

    fn faults(&self) -> Faults {
        *self.0.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Faults {
    async fn befall(self) -> Result<Fate, Status> {
        if self.black_hole {
            std::future::pending::<()>().await;
        }
        if self.outage {
            return Err(Status::unavailable("the demo provider plays dead"));
        }
        let delay = self.latency + self.jitter.mul_f64(Clock::System.fraction());
        if !delay.is_zero() {
            time::sleep(delay).await;
        }
        let dice = Clock::System.fraction() * 100.0;
        if dice < f64::from(self.failure_percent) {
            Err(Status::unavailable("the demo provider fails"))
        } else if dice < f64::from(self.failure_percent) + f64::from(self.in_band_percent) {
            Ok(Fate::FailsInBand)
        } else {
            Ok(Fate::Well)
        }
    }

    fn read(settings: &FaultSettings) -> Result<Self, Status> {
        let percent = |name: &str, value: i32| match u8::try_from(value) {
            Ok(percent @ 0..=100) => Ok(percent),
            _ => Err(Status::invalid_argument(format!("{name} must be from 0 to 100"))),
        };
        let duration = |name: &str, value: Option<prost_types::Duration>| {
            let value = Duration::try_from(value.unwrap_or_default()).ok().filter(|value| *value <= LONGEST);
            value.ok_or_else(|| Status::invalid_argument(format!("{name} must be from 0 s to 1 h")))
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
        // At most an hour each: the conversion cannot fail.
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
impl FaultsService for Moods {
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
