//! Subscribers to events, in a process of their own: how many events they receive, and how late.

use std::{io::Read as _, time::Instant};

use boxoffice::{
    clock::Clock,
    pb::boxoffice::v1::{
        SubscribeEventsRequest, events_client::EventsClient, subscribe_events_request::Start,
        subscribe_events_response::Message,
    },
};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use crate::wire::{self, RoleProcess, tally::Outcome};

/// Subscribers share connections, as many as this on each.
const OF_A_CONNECTION: usize = 25;
/// Flow-control window of a connection and of a stream, in bytes.
const WINDOW: u32 = 1 << 20;

/// What the subscribers do.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) address: String,
    pub(crate) subscribers: usize,
    /// `None`: they receive what is committed from now on, until the input of the process ends. Otherwise they begin with the
    /// oldest event, and end after so many.
    pub(crate) events: Option<u64>,
}

impl Plan {
    /// Starts the subscribers in a process, and returns when all of them are subscribed.
    pub(crate) fn start(&self) -> RoleProcess {
        wire::start_role("subscribe", self).0
    }
}

/// Runs the plan in this file.
pub(crate) async fn run(file: &str) {
    let plan: Plan = wire::read_plan(file);
    let (mut streams, mut channel) = (Vec::new(), None);
    for number in 0..plan.subscribers {
        if number % OF_A_CONNECTION == 0 {
            let endpoint = Endpoint::from_shared(format!("http://{}", plan.address)).expect("an address");
            let endpoint = endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
            channel = Some(endpoint.connect().await.expect("the service listens"));
        }
        let mut client = EventsClient::new(channel.clone().expect("a connection"));
        let start = plan.events.is_none().then_some(Start::FromNow(true));
        let request = SubscribeEventsRequest { start, ..Default::default() };
        streams.push(client.subscribe_events(request).await.expect("a subscription").into_inner());
    }
    println!("subscribed");
    let end = CancellationToken::new();
    if plan.events.is_none() {
        let end = end.clone();
        std::thread::spawn(move || {
            let _end_of_input = std::io::stdin().read(&mut [0]);
            end.cancel();
        });
    }
    let begin = Instant::now();
    let tasks: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            let (end, most) = (end.clone(), plan.events.unwrap_or(u64::MAX));
            tokio::spawn(async move {
                let mut latencies = Histogram::<u64>::new(3).expect("a histogram");
                while latencies.len() < most {
                    let message = tokio::select! {
                        () = end.cancelled() => break,
                        message = stream.message() => message.expect("the stream works").expect("the stream goes on"),
                    };
                    if let Some(Message::Event(event)) = message.message {
                        let time = event.time.expect("an event has a time");
                        let decided = i128::from(time.seconds) * 1_000_000 + i128::from(time.nanos) / 1_000;
                        let latency = i128::from(Clock::System.now().timestamp_micros()) - decided;
                        latencies
                            .record(u64::try_from(latency.max(1)).expect("a latency"))
                            .expect("a latency within bounds");
                    }
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Histogram::<u64>::new(3).expect("a histogram");
    for task in tasks {
        latencies.add(task.await.expect("a subscriber ends")).expect("the same bounds");
    }
    let quantile = |at| latencies.value_at_quantile(at) as f64 / 1_000.0;
    let rate = latencies.len() as f64 / begin.elapsed().as_secs_f64();
    wire::print_result(&Outcome { rate, p50: quantile(0.5), p99: quantile(0.99), bytes: 0, failed: 0 });
}
