//! Why the process ends, and how a part that stopped is logged.

/// Why the service does not run, in words for the person who started it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Logs the error of a part that runs beside the requests, if it ended with one.
pub(super) fn log_if_failed<T, E: std::error::Error + 'static>(part: &str, outcome: Result<T, E>) {
    if let Err(error) = outcome {
        tracing::error!(error = &error as &dyn std::error::Error, "{part} failed");
    }
}
