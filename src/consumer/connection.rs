//! The connection to the service: one for each stream, so that a stream that is opened again can reach another instance.

use std::time::Duration;

use tokio::time::timeout;
use tonic::{
    Status, Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::options::{Options, SetupError, Start};
use crate::{
    pb::boxoffice::v1::{
        GetEventFeedRequest, GetEventFeedResponse, SubscribeEventsRequest, SubscribeEventsResponse,
        events_client::EventsClient, subscribe_events_request::Start as Place,
    },
    telemetry::cause::innermost,
};

/// The interval of pings. They are also sent while the connection is idle, to detect a service that vanished.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// The longest wait for the answer to a ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The messages of a stream.
pub(super) type Messages = Streaming<SubscribeEventsResponse>;

/// A stream that has begun.
pub(super) struct Opened {
    pub(super) messages: Messages,
    /// Where the stream begins, if that was not known before.
    pub(super) token: Option<String>,
}

/// Configures connections. Nothing is sent.
pub(super) fn endpoint(options: &Options) -> Result<Endpoint, SetupError> {
    let endpoint = Endpoint::from_shared(options.url.clone()).map_err(|_| SetupError::Url)?;
    let endpoint = endpoint
        .connect_timeout(options.timeout)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEPALIVE))
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    if endpoint.uri().host().is_none() {
        return Err(SetupError::Url);
    }
    match endpoint.uri().scheme_str() {
        Some("http") => Ok(endpoint),
        Some("https") => {
            let tls = ClientTlsConfig::new().timeout(options.timeout);
            let tls = match &options.ca_pem {
                Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
                None => tls.trust_anchors(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            };
            endpoint.tls_config(tls).map_err(SetupError::Tls)
        }
        _ => Err(SetupError::Url),
    }
}

/// Connects and subscribes.
pub(super) async fn subscribe(endpoint: Endpoint, start: Start, limit: Duration) -> Result<Opened, Status> {
    within(limit, async {
        let mut client = connect(&endpoint).await?;
        let (place, token) = match start {
            Start::Oldest => (None, None),
            Start::Token(token) => (Some(Place::ResumeToken(token)), None),
            // With a token the stream can be opened again later without a gap.
            Start::Now => {
                let token = feed(&mut client).await?.newest_token;
                (Some(Place::ResumeToken(token.clone())), Some(token))
            }
        };
        let request = SubscribeEventsRequest { start: place, ..Default::default() };
        Ok(Opened { messages: client.subscribe_events(request).await?.into_inner(), token })
    })
    .await
}

/// Reads where the feed begins and ends. Everything that was committed before is in it.
pub(super) async fn ends(endpoint: Endpoint, limit: Duration) -> Result<GetEventFeedResponse, Status> {
    within(limit, async { feed(&mut connect(&endpoint).await?).await }).await
}

async fn feed(client: &mut EventsClient<Channel>) -> Result<GetEventFeedResponse, Status> {
    // To begin with the present, the service gives everything that was committed its place in the feed.
    let now = SubscribeEventsRequest { start: Some(Place::FromNow(true)), ..Default::default() };
    drop(client.subscribe_events(now).await?);
    Ok(client.get_event_feed(GetEventFeedRequest {}).await?.into_inner())
}

async fn connect(endpoint: &Endpoint) -> Result<EventsClient<Channel>, Status> {
    let channel = endpoint.connect().await;
    Ok(EventsClient::new(channel.map_err(|error| Status::unavailable(innermost(&error)))?))
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = |_| Err(Status::deadline_exceeded(format!("no answer within {limit:?}")));
    timeout(limit, call).await.unwrap_or_else(late)
}
