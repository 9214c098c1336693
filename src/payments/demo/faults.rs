//! The faults that the demo gateway simulates. They are set in the configuration and can be changed while it runs.

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

use super::{rules::Timing, state::State};
use crate::{
    clock::Clock,
    pb::boxoffice::demo::v1::{
        CompleteActionRequest, CompleteActionResponse, GatewayFaultSettings, GetGatewayFaultsRequest,
        GetGatewayFaultsResponse, SetGatewayFaultsRequest, SetGatewayFaultsResponse, gateway_faults_server,
    },
};

/// The largest of all durations.
const MAX_DELAY: Duration = Duration::from_hours(1);
const REFUND_DELAY: Duration = Duration::from_millis(200);
const ACTION_TIMEOUT: Duration = Duration::from_mins(10);

/// The faults of each call of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The delay of every answer, before the operation.
    pub latency: Duration,
    /// A further delay of every answer: random, at most this long, evenly distributed.
    pub jitter: Duration,
    /// The share of calls that fail before anything is done, in per cent.
    pub failure_percent: u8,
    /// Whether every call fails at once.
    pub outage: bool,
    /// Whether every call is accepted and never answered.
    pub black_hole: bool,
    /// The share of calls that are done and answered with an error, in per cent.
    pub lost_reply_percent: u8,
    /// How long refunds are pending.
    pub refund_delay: Duration,
    /// How long a customer has to act.
    pub action_timeout: Duration,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            failure_percent: 0,
            outage: false,
            black_hole: false,
            lost_reply_percent: 0,
            refund_delay: REFUND_DELAY,
            action_timeout: ACTION_TIMEOUT,
        }
    }
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

    /// Applies the faults to one call, before the operation. A shutdown ends every delay.
    pub(super) async fn apply(&self) -> Result<(), Status> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        let faults = self.faults();
        self.unless_shut_down(faults.apply()).await?
    }

    /// Waits for this, or fails when the gateway shuts down.
    pub(super) async fn unless_shut_down<T>(&self, wait: impl Future<Output = T>) -> Result<T, Status> {
        tokio::select! {
            result = wait => Ok(result),
            () = self.0.shutdown.cancelled() => Err(Status::unavailable("the demo gateway is shutting down")),
        }
    }

    /// The reply to a call that is done, unless it gets lost.
    pub(super) fn reply<T>(&self, answer: T) -> Result<Response<T>, Status> {
        if drawn(self.faults().lost_reply_percent) {
            return Err(lost());
        }
        Ok(Response::new(answer))
    }

    pub(super) fn timing(&self) -> Timing {
        let Faults { refund_delay, action_timeout, .. } = self.faults();
        Timing { now: Clock::System.now(), refund_delay, action_timeout }
    }

    fn faults(&self) -> Faults {
        *self.0.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of a call that is done and whose reply got lost.
pub(super) fn lost() -> Status {
    Status::unavailable("the demo gateway simulates that the reply is lost")
}

fn drawn(percent: u8) -> bool {
    Clock::System.fraction() * 100.0 < f64::from(percent)
}

impl Faults {
    async fn apply(self) -> Result<(), Status> {
        if self.black_hole {
            std::future::pending::<()>().await;
        }
        if self.outage {
            return Err(Status::unavailable("the demo gateway simulates an outage"));
        }
        let delay = self.latency + self.jitter.mul_f64(Clock::System.fraction());
        if !delay.is_zero() {
            time::sleep(delay).await;
        }
        if drawn(self.failure_percent) {
            return Err(Status::unavailable("the demo gateway simulates a failure"));
        }
        Ok(())
    }

    fn read(settings: &GatewayFaultSettings) -> Result<Self, Status> {
        let percent = |name: &str, value: i32| match u8::try_from(value) {
            Ok(percent @ 0..=100) => Ok(percent),
            _ => Err(Status::invalid_argument(format!("{name} must be from 0 to 100, and is {value}"))),
        };
        let duration = |name: &str, value: Option<prost_types::Duration>, default: Duration| {
            let Some(value) = value else { return Ok(default) };
            let valid = Duration::try_from(value).ok().filter(|valid| *valid <= MAX_DELAY);
            valid.ok_or_else(|| Status::invalid_argument(format!("{name} must be from 0s to 3600s, and is {value}")))
        };
        Ok(Self {
            latency: duration("latency", settings.latency, Duration::ZERO)?,
            jitter: duration("jitter", settings.jitter, Duration::ZERO)?,
            failure_percent: percent("failure_percent", settings.failure_percent)?,
            outage: settings.outage,
            black_hole: settings.black_hole,
            lost_reply_percent: percent("lost_reply_percent", settings.lost_reply_percent)?,
            refund_delay: duration("refund_delay", settings.refund_delay, REFUND_DELAY)?,
            action_timeout: duration("action_timeout", settings.action_timeout, ACTION_TIMEOUT)?,
        })
    }

    fn settings(self) -> GatewayFaultSettings {
        // None is longer than an hour, so the conversion cannot fail.
        let duration = |value: Duration| prost_types::Duration::try_from(value).ok();
        GatewayFaultSettings {
            latency: duration(self.latency),
            jitter: duration(self.jitter),
            failure_percent: self.failure_percent.into(),
            outage: self.outage,
            black_hole: self.black_hole,
            lost_reply_percent: self.lost_reply_percent.into(),
            refund_delay: duration(self.refund_delay),
            action_timeout: duration(self.action_timeout),
        }
    }
}

/// The service that sets the faults, and acts as the customers.
pub(super) struct Control {
    faults: SharedFaults,
    state: State,
}

impl Control {
    pub(super) fn new(faults: SharedFaults, state: State) -> Self {
        Self { faults, state }
    }
}

#[tonic::async_trait]
impl gateway_faults_server::GatewayFaults for Control {
    async fn get_gateway_faults(
        &self,
        _: Request<GetGatewayFaultsRequest>,
    ) -> Result<Response<GetGatewayFaultsResponse>, Status> {
        let call_count = self.faults.0.calls.load(Ordering::Relaxed);
        let faults = Some(self.faults.faults().settings());
        Ok(Response::new(GetGatewayFaultsResponse { faults, call_count }))
    }

    async fn set_gateway_faults(
        &self,
        request: Request<SetGatewayFaultsRequest>,
    ) -> Result<Response<SetGatewayFaultsResponse>, Status> {
        let faults = Faults::read(&request.into_inner().faults.unwrap_or_default())?;
        *self.faults.0.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
        Ok(Response::new(SetGatewayFaultsResponse { faults: Some(faults.settings()) }))
    }

    async fn complete_action(
        &self,
        request: Request<CompleteActionRequest>,
    ) -> Result<Response<CompleteActionResponse>, Status> {
        let CompleteActionRequest { payment_key, approve } = request.into_inner();
        let payment = self.state.complete(&payment_key, approve)?;
        let payment = payment.ok_or_else(|| Status::not_found("payment_key was never seen"))?;
        Ok(Response::new(CompleteActionResponse { state: payment.state().as_str_name().to_owned() }))
    }
}
