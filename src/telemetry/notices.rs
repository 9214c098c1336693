//! Warnings that Postgres sends together with an answer.
//!
//! The driver does not return them: it makes events of them, while it reads the answer. A layer over these events finds them
//! again. A future is polled on one thread at a time, so a warning belongs to the future that is being polled on the thread
//! of the event, whatever else runs at the same time.
//!
//! The layer is independent of the log level, and its filter lets it see these events alone.

use std::{cell::RefCell, fmt, pin::pin};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{Layer, filter::Targets, layer::Context, registry::LookupSpan};

/// The target of the driver's events. The level of an event is made of the severity, which is not translated.
const TARGET: &str = "sqlx::postgres::notice";

/// Whether warnings are listened for on a thread.
#[derive(Default)]
enum Listening {
    #[default]
    Off,
    /// With the last warning.
    On(Option<String>),
}

thread_local! {
    static LISTENING: RefCell<Listening> = const { RefCell::new(Listening::Off) };
}

/// Awaits work with Postgres. Returns its result, and the text of the last warning that came meanwhile.
pub async fn with_warning<T>(work: impl Future<Output = T>) -> (T, Option<String>) {
    let mut work = pin!(work);
    let mut warning = None;
    let done = std::future::poll_fn(|context| {
        let before = LISTENING.replace(Listening::On(None));
        let polled = work.as_mut().poll(context);
        if let Listening::On(Some(text)) = LISTENING.replace(before) {
            warning = Some(text);
        }
        polled
    });
    (done.await, warning)
}

/// The layer that finds the warnings.
pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    Warnings.with_filter(Targets::new().with_target(TARGET, LevelFilter::WARN))
}

struct Warnings;

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        LISTENING.with_borrow_mut(|listening| {
            if let Listening::On(warning) = listening {
                let mut message = Message(String::new());
                event.record(&mut message);
                *warning = Some(message.0);
            }
        });
    }
}

struct Message(String);

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    async fn statement(warning: Option<&str>) -> u32 {
        tokio::task::yield_now().await;
        if let Some(warning) = warning {
            tracing::warn!(target: TARGET, message = warning);
        }
        tokio::task::yield_now().await;
        1
    }

    #[tokio::test]
    async fn a_warning_belongs_to_the_future_that_read_it() {
        let subscriber = tracing_subscriber::registry().with(layer());
        let _guard = tracing::subscriber::set_default(subscriber);
        let (one, two, _unwatched) = tokio::join!(
            with_warning(statement(Some("cancelled"))),
            with_warning(statement(None)),
            statement(Some("x"))
        );
        assert_eq!((one, two), ((1, Some("cancelled".to_owned())), (1, None)));
    }

    #[tokio::test]
    async fn only_warnings_of_postgres_count() {
        let subscriber = tracing_subscriber::registry().with(layer());
        let _guard = tracing::subscriber::set_default(subscriber);
        let others = async {
            tracing::info!(target: TARGET, "relation already exists, skipping");
            tracing::error!(target: "sqlx::pool", "slow");
        };
        assert_eq!(with_warning(others).await, ((), None));
        let worse = async { tracing::error!(target: TARGET, "worse") };
        assert_eq!(with_warning(worse).await, ((), Some("worse".to_owned())));
    }
}
