//! One attempt to deliver: a request over HTTP/1.1 on a connection of its own.
//!
//! The name of the endpoint is looked up for each attempt, and the address that is connected to is the one that was checked. So a name
//! that leads to another address later cannot lead into the network of this machine. Redirects are not followed, and no proxy is used.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::{address::is_public, endpoints::Endpoint, message, schedule, signature::signatures};
use crate::telemetry::cause;

/// The most time for a connection to one of the addresses of a name.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most addresses of a name that are tried.
const MOST_ADDRESSES: usize = 4;
/// The most bytes of the headers of an answer.
const LONGEST_HEADERS: usize = 16 << 10;
/// The most bytes of an answer that are read. What was read is dropped.
const LONGEST_ANSWER: usize = 16 << 10;
/// How this client names itself.
const USER_AGENT: &str = concat!("boxoffice/", env!("CARGO_PKG_VERSION"));

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The endpoint has confirmed it.
    Delivered,
    /// The endpoint wants no deliveries any more.
    Gone,
    /// It was not confirmed.
    Failed {
        /// Why not.
        answer: String,
        /// How long the endpoint asks to wait.
        retry_after: Option<Duration>,
    },
}

/// Delivers to one endpoint.
#[derive(Clone)]
pub(super) struct Client {
    endpoint: Arc<Endpoint>,
    tls: TlsConnector,
    timeout: Duration,
}

/// What is sent.
#[derive(Clone, Debug)]
pub(super) struct Content {
    /// `webhook-id`
    pub(super) id: String,
    pub(super) body: String,
}

impl Client {
    pub(super) fn new(endpoint: Arc<Endpoint>, timeout: Duration) -> Self {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        roots.add_parsable_certificates(endpoint.authorities.iter().cloned());
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self { endpoint, tls: TlsConnector::from(Arc::new(config)), timeout }
    }

    /// Delivers once, within the time-out. The signature is of this time.
    pub(super) async fn attempt(&self, content: &Content, now: DateTime<Utc>) -> Attempt {
        let failed = |answer| Attempt::Failed { answer, retry_after: None };
        match timeout(self.timeout, self.send(content, now)).await {
            Ok(Ok((status, headers))) => judge(status, &headers, now),
            Ok(Err(why)) => failed(why),
            Err(_) => failed(format!("no answer within {:?}", self.timeout)),
        }
    }

    async fn send(&self, content: &Content, now: DateTime<Utc>) -> Result<(StatusCode, HeaderMap), String> {
        let request = self.request(content, now)?;
        let url = &self.endpoint.url;
        let stream = self.connect(url).await?;
        if url.scheme() == "http" {
            return exchange(stream, request).await;
        }
        let name = match url.host() {
            Some(Host::Domain(name)) => ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?,
            Some(Host::Ipv4(address)) => ServerName::from(std::net::IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => ServerName::from(std::net::IpAddr::V6(address)),
            None => return Err("the URL has no host".to_owned()),
        };
        let stream = self.tls.connect(name, stream).await;
        exchange(stream.map_err(|error| format!("TLS: {}", cause::of_io(&error)))?, request).await
    }

    fn request(&self, content: &Content, now: DateTime<Utc>) -> Result<Request<Full<Bytes>>, String> {
        let Endpoint { url, secrets, .. } = &*self.endpoint;
        let timestamp = now.timestamp();
        let signed = signatures(secrets, &content.id, timestamp, content.body.as_bytes());
        let host = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Request::builder()
            .method(Method::POST)
            .uri(target)
            .header(header::HOST, host)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONTENT_TYPE, message::CONTENT_TYPE)
            .header(header::CONNECTION, "close")
            .header("webhook-id", &content.id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signed)
            .body(Full::from(content.body.clone()))
            .map_err(|error| error.to_string())
    }

    /// Connects to one of the addresses of the host that may be connected to.
    async fn connect(&self, url: &Url) -> Result<TcpStream, String> {
        let addresses = addresses(url).await?;
        let allowed = addresses.iter().filter(|address| self.endpoint.allow_private || is_public(address.ip()));
        let allowed: Vec<_> = allowed.take(MOST_ADDRESSES).collect();
        let mut why = match addresses.first() {
            None => "the name has no address".to_owned(),
            Some(first) => format!("the address {} is not public", first.ip()),
        };
        for address in allowed {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Without this a small request may wait for the answer to the bytes before it.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => why = format!("{address}: {}", cause::of_io(&error)),
                Err(_) => why = format!("{address}: no connection within {CONNECT_TIMEOUT:?}"),
            }
        }
        Err(why)
    }
}

async fn addresses(url: &Url) -> Result<Vec<SocketAddr>, String> {
    let port = url.port_or_known_default().unwrap_or_default();
    Ok(match url.host() {
        Some(Host::Ipv4(address)) => vec![(address, port).into()],
        Some(Host::Ipv6(address)) => vec![(address, port).into()],
        Some(Host::Domain(name)) => {
            let found = lookup_host((name, port)).await;
            found.map_err(|error| format!("{name}: {}", cause::of_io(&error)))?.collect()
        }
        None => Vec::new(),
    })
}

/// Sends the request and reads the answer, whose body is dropped.
async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(StatusCode, HeaderMap), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut client = http1::Builder::new();
    client.max_buf_size(LONGEST_HEADERS);
    let (mut sender, connection) =
        client.handshake(TokioIo::new(stream)).await.map_err(|error| cause::innermost(&error))?;
    // The connection ends with this set, whatever becomes of the request.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let answer = sender.send_request(request).await.map_err(|error| cause::innermost(&error))?;
    let (parts, mut body) = answer.into_parts();
    let mut read = 0;
    while read < LONGEST_ANSWER && !body.is_end_stream() {
        match body.frame().await {
            Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
            // What the endpoint has said is known.
            Some(Err(_)) | None => break,
        }
    }
    Ok((parts.status, parts.headers))
}

fn judge(status: StatusCode, headers: &HeaderMap, now: DateTime<Utc>) -> Attempt {
    if status.is_success() {
        return Attempt::Delivered;
    }
    if status == StatusCode::GONE {
        return Attempt::Gone;
    }
    let is_busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
    let asked = headers.get(header::RETRY_AFTER).filter(|_| is_busy).map(HeaderValue::to_str);
    let retry_after = asked.and_then(Result::ok).and_then(|text| schedule::retry_after(text, now));
    let note = if status.is_redirection() { " (redirects are not followed)" } else { "" };
    Attempt::Failed { answer: format!("HTTP {status}{note}"), retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, retry_after: &str) -> Attempt {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_str(retry_after).unwrap());
        judge(StatusCode::from_u16(status).unwrap(), &headers, DateTime::UNIX_EPOCH)
    }

    #[test]
    fn only_2xx_confirms_and_only_a_busy_endpoint_sets_the_pause() {
        let failed = |answer: &str, seconds: Option<u64>| Attempt::Failed {
            answer: answer.to_owned(),
            retry_after: seconds.map(Duration::from_secs),
        };
        assert_eq!(judged(204, "1"), Attempt::Delivered);
        assert_eq!(judged(410, "1"), Attempt::Gone);
        assert_eq!(judged(302, "7"), failed("HTTP 302 Found (redirects are not followed)", None));
        assert_eq!(judged(400, "7"), failed("HTTP 400 Bad Request", None));
        assert_eq!(judged(429, "7"), failed("HTTP 429 Too Many Requests", Some(7)));
        assert_eq!(judged(503, "7"), failed("HTTP 503 Service Unavailable", Some(7)));
        assert_eq!(judged(503, "soon"), failed("HTTP 503 Service Unavailable", None));
    }
}
