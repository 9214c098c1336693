//! The order in which a running service stops, and the limit of each step.

use std::{collections::HashSet, pin::pin, sync::Arc, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{failure::Failure, health::Health};
use crate::{app::App, grpc::connections::Connections};

/// The time in which HTTP/2 connections get their GOAWAY. After it they bring no new requests.
const GOAWAY_GRACE: Duration = Duration::from_millis(100);
/// How long watchers have to read their last message. After it their streams are ended.
const WATCHER_DRAIN: Duration = Duration::from_secs(2);
/// How long clients have to take the end of a stream. After it their connections are closed.
const STREAM_END_GRACE: Duration = Duration::from_millis(250);
/// How long clients have to take an answer, to complete a request that they have begun, and to answer the GOAWAY. After it
/// their connections are closed.
const ANSWER_DRAIN: Duration = Duration::from_secs(2);
/// How long commands that wait for the database have to finish.
const COMMAND_DRAIN: Duration = Duration::from_secs(5);
/// How long the tasks beside the requests have to end. They have nothing to lose.
const TASK_DRAIN: Duration = Duration::from_secs(2);

type Serving = JoinHandle<Result<(), tonic::transport::Error>>;

/// The stages of a shutdown, and the tasks that run beside the requests.
#[derive(Default)]
pub(super) struct Lifecycle {
    /// Cancelled when the process is asked to end. Listeners close, watchers get their last message, periodic tasks stop.
    pub(super) shutdown: CancellationToken,
    /// Cancelled when the watchers had their time. Streams that are still open are ended.
    pub(super) streams_end: CancellationToken,
    /// Cancelled when all requests have ended. What they used is stopped.
    pub(super) requests_ended: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Lifecycle {
    /// Waits for the shutdown and carries it out. `serving` ends when its listener is closed and its requests have ended.
    pub(super) async fn end(
        &self,
        mut serving: Serving,
        health: &Arc<Health>,
        app: &App,
        connections: &Connections,
        drain_timeout: Duration,
    ) -> Result<(), Failure> {
        let served = tokio::select! {
            served = &mut serving => served?,
            () = self.shutdown.cancelled() => {
                tracing::info!("draining");
                health.ready(false).await;
                match timeout(drain_timeout, self.drain(serving, app.unwatched(), connections)).await {
                    Ok(served) => served?,
                    Err(_elapsed) => {
                        tracing::warn!("some requests did not end in time; their connections are closed");
                        Ok(())
                    }
                }
            }
        };
        // A change that was accepted is finished, although its caller may be gone.
        if timeout(COMMAND_DRAIN, app.drained()).await.is_err() {
            tracing::warn!("some changes did not finish in time; what they did not commit is not done");
        }
        self.shutdown.cancel();
        self.requests_ended.cancel();
        self.tasks.close();
        let _late = timeout(TASK_DRAIN, self.tasks.wait()).await;
        Ok(served?)
    }

    /// Waits for the requests. Streams are ended when the watchers had time to read their last message, and connections that
    /// do not take what they are sent are closed. `unwatched` ends when the last watcher has left.
    async fn drain(
        &self,
        mut serving: Serving,
        unwatched: impl Future<Output = ()>,
        connections: &Connections,
    ) -> <Serving as Future>::Output {
        let begin = Instant::now();
        let end_streams = async {
            sleep(GOAWAY_GRACE).await;
            // A watcher that reads nothing does not hold up the others.
            let _late = timeout(WATCHER_DRAIN, unwatched).await;
            self.streams_end.cancel();
            sleep(STREAM_END_GRACE).await;
            // Without watchers this comes early. A request whose message is on its way has its time nevertheless.
            sleep_until(begin + ANSWER_DRAIN).await;
        };
        let (mut end_streams, mut may_close) = (pin!(end_streams), false);
        let period = Connections::period(ANSWER_DRAIN);
        // The tick before may have come just now. A tick at once would take a quarter of its time from an answer.
        let mut ticks = interval_at(begin + period, period);
        // After a pause of the process, the ticks that it missed would come together, and make every answer late.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unneeded = HashSet::new();
        loop {
            tokio::select! {
                served = &mut serving => return served,
                () = &mut end_streams, if !may_close => may_close = true,
                _ = ticks.tick() => {
                    connections.tick();
                    if may_close {
                        unneeded = connections.close_unneeded(&unneeded);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        task::{Context, Waker},
    };

    use tokio::{task::yield_now, time::advance};

    use crate::grpc::connections::{Connection, Limits};

    use super::*;

    /// Begins a drain without watchers, whose requests do not end.
    fn drain() -> Connections {
        drain_with(ready(())).0
    }

    /// Begins a drain whose requests do not end. Also returns what is cancelled when the streams are ended.
    fn drain_with(unwatched: impl Future<Output = ()> + Send + 'static) -> (Connections, CancellationToken) {
        let (connections, lifecycle) = (Connections::new(Limits::default()), Lifecycle::default());
        let (of_drain, streams_end) = (connections.clone(), lifecycle.streams_end.clone());
        tokio::spawn(async move {
            let serving = tokio::spawn(pending());
            lifecycle.drain(serving, unwatched, &of_drain).await
        });
        (connections, streams_end)
    }

    #[tokio::test(start_paused = true)]
    async fn streams_are_ended_when_the_last_watcher_has_left_or_after_two_seconds() {
        for (watched, ended) in [(0, 100), (1_500, 1_600), (60_000, 2_100)] {
            let (_connections, streams_end) = drain_with(async move {
                sleep(Duration::from_millis(watched)).await;
            });
            let begin = Instant::now();
            streams_end.cancelled().await;
            assert_eq!(begin.elapsed().as_millis(), ended, "watched for {watched} ms");
        }
    }

    fn is_closed(connection: &Connection) -> bool {
        connection.poll_closed(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_is_closed_after_two_seconds_and_not_before() {
        let connections = drain();
        let connection = connections.open(None);
        sleep(Duration::from_millis(1_999)).await;
        assert!(!is_closed(&connection), "a request may be on its way");
        sleep(Duration::from_millis(1_100)).await;
        assert!(is_closed(&connection));
    }

    /// Between the end of a request and the delivery of its answer, nothing shows for a moment that the connection is needed.
    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_found_without_requests_once_is_not_closed() {
        let connections = drain();
        sleep(Duration::from_millis(2_600)).await;
        let connection = connections.open(None);
        sleep(Duration::from_millis(500)).await;
        assert!(!is_closed(&connection));
        sleep(Duration::from_millis(500)).await;
        assert!(is_closed(&connection));
    }

    /// The client takes no bytes, so the connection is late after five ticks.
    #[tokio::test(start_paused = true)]
    async fn after_a_pause_of_the_process_clients_have_time_to_take_their_answers() {
        let connections = drain();
        let connection = connections.open(None);
        let _blocked = connection.block();
        yield_now().await;
        advance(Duration::from_secs(10)).await;
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(!is_closed(&connection));
        sleep(Duration::from_secs(3)).await;
        assert!(is_closed(&connection));
    }
}
