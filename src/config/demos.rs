//! The options of the demo servers. `config.rs` says how to add one.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    declare::{Section, options},
    row::Row,
    secret::Secret,
    sources::Settings,
    values::Value,
};

const ZERO: Duration = Duration::ZERO;
const HOUR: Duration = Duration::from_hours(1);

options! {
    /// The port of the demo provider, and who is served.
    pub struct DemoProvider under "Listening" for "demo" {
        /// Address; port 0 picks a free one.
        listen: SocketAddr = "127.0.0.1:50061",
        /// Key that callers must send; none: every caller is served.
        api_key: Option<Secret>,
        /// PEM file with the certificate; none: no TLS.
        tls_cert: Option<PathBuf>,
        /// PEM file with the certificate's private key.
        tls_key: Option<PathBuf>,
    }

    /// How the demo provider misbehaves.
    pub struct Faults under "Faults (they can be changed while it runs, too)" for "demo" {
        /// Delay of every answer.
        latency: Duration = "0s" in ZERO..=HOUR,
        /// Random further delay, up to this.
        jitter: Duration = "0s" in ZERO..=HOUR,
        /// Per cent of calls that fail with a gRPC error.
        failure_percent: u8 = 0 in 0..=100,
        /// Per cent of calls that are OK and say in their answer that they failed.
        in_band_percent: u8 = 0 in 0..=100,
        /// Every call fails at once with UNAVAILABLE.
        outage: bool = false,
        /// Every call is accepted and never answered.
        black_hole: bool = false,
    }

    /// The port and the file of the demo gateway, and who is served.
    pub struct DemoGateway under "Listening" for "demo_gateway" {
        /// Address; port 0 picks a free one.
        listen: SocketAddr = "127.0.0.1:50071",
        /// Folder for the file of the payments; created if it is missing.
        data_dir: PathBuf = "./boxoffice-data",
        /// Key that callers must send; none: every caller is served.
        api_key: Option<Secret>,
        /// PEM file with the certificate; none: no TLS.
        tls_cert: Option<PathBuf>,
        /// PEM file with the certificate's private key.
        tls_key: Option<PathBuf>,
    }

    /// How the demo gateway misbehaves.
    pub struct GatewayFaults under "Faults (they can be changed while it runs, too)" for "demo_gateway" {
        /// Delay of every answer.
        latency: Duration = "0s" in ZERO..=HOUR,
        /// Random further delay, up to this.
        jitter: Duration = "0s" in ZERO..=HOUR,
        /// Per cent of calls that fail before anything is done.
        failure_percent: u8 = 0 in 0..=100,
        /// Per cent of calls that are done and answered with an error.
        lost_reply_percent: u8 = 0 in 0..=100,
        /// Every call fails at once with UNAVAILABLE.
        outage: bool = false,
        /// Every call is accepted and never answered.
        black_hole: bool = false,
        /// How long refunds are pending.
        refund_delay: Duration = "200ms" in ZERO..=HOUR,
        /// How long a customer has to act.
        action_timeout: Duration = "10m" in ZERO..=HOUR,
    }
}
