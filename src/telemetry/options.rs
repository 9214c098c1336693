//! What telemetry can be asked for, and why it cannot be set up.

use std::io;

use opentelemetry_sdk::error::OTelSdkError;

/// How console lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// As text for people.
    #[default]
    Human,
    /// As one JSON object per line.
    Json,
}

/// What telemetry is set up with.
#[derive(Clone, Debug)]
pub struct Options {
    /// How console lines are written.
    pub log_format: LogFormat,
    /// What is logged, in the syntax of tracing's `EnvFilter`, fields of spans excepted.
    pub log_level: String,
    /// The collector that traces are sent to; none: no traces.
    pub otlp_endpoint: Option<String>,
    /// The name of this process among the instances of the service.
    pub instance: String,
}

/// Why telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log level does not parse.
    #[error("--log-level cannot be parsed")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// Traces cannot be sent to the endpoint.
    #[error("--otlp-endpoint {endpoint}: {reason}")]
    Endpoint {
        /// The endpoint as configured.
        endpoint: String,
        /// What is wrong with the endpoint.
        reason: String,
    },
    /// The metrics cannot be set up.
    #[error("metrics cannot be set up")]
    Metrics(#[from] OTelSdkError),
    /// The system did not start a thread.
    #[error("a thread for telemetry cannot be started")]
    Thread(#[from] io::Error),
    /// Telemetry was set up before.
    #[error("telemetry is already set up in this process")]
    Twice,
}
