//! How the commands of operators call a running service.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::SocketAddr,
    time::Duration,
};

use prost_types::Timestamp;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use super::failure::Failure;

/// The deadline of a call.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The items of a page, where a command reads a list.
pub(super) const PAGE: i32 = 200;

/// A note that an operator has left, as one line.
pub(super) fn write_note(text: &mut String, time: Option<&Timestamp>, done: &str, note: &str) {
    let time = time.map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(text, "  {time} {done}: {note}");
}

/// Asks the service at this address, and prints its answer.
pub(super) fn print_answer(
    address: SocketAddr,
    ask: impl AsyncFnOnce(Channel) -> Result<String, Status>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let endpoint = Endpoint::try_from(format!("http://{address}"))?.connect_timeout(TIMEOUT).timeout(TIMEOUT);
        let channel = endpoint.connect().await.map_err(|_| format!("{address} does not answer as a gRPC server"))?;
        let refused = |status: Status| format!("{address}: {:?}: {}", status.code(), status.message());
        let text = ask(channel).await.map_err(refused)?;
        Ok(io::stdout().write_all(text.as_bytes())?)
    })
}
