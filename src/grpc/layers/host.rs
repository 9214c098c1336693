//! Which names of the server a browser may call it by.
//!
//! A page can give the server's address a name of its own (DNS rebinding). The browser then takes page and server for one
//! origin, and no rule of CORS protects the server. The `Host` of such a request is the page's name, so requests that browsers
//! send are served for known names only. Native gRPC without an `Origin` is not sent by browsers, and may use any name.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderValue, Request, StatusCode, Version, header, uri::Authority};
use tonic::body::Body;

/// The ports that a host without a port stands for: that of http, or that of https if a proxy in front has TLS.
const DEFAULT_PORTS: [u16; 2] = [80, 443];

/// The names under which the server is called by browsers: those of this machine, the address that it listens on, and the
/// configured ones.
#[derive(Clone, Debug)]
pub struct Hosts(Arc<Known>);

#[derive(Debug)]
struct Known {
    listen: Option<SocketAddr>,
    /// Names without a port stand for every port. `None`: every name is allowed.
    configured: Option<Vec<String>>,
}

impl Hosts {
    /// The names of a server that listens on this address. `*` among the configured names allows every name.
    #[must_use]
    pub fn new(listen: Option<SocketAddr>, configured: &[String]) -> Self {
        let any = configured.iter().any(|name| name == "*");
        Self(Arc::new(Known { listen, configured: (!any).then(|| configured.to_vec()) }))
    }

    /// Checks that the request names one host, and that it is allowed.
    ///
    /// # Errors
    /// The HTTP status and the reason of the refusal.
    pub(super) fn check(&self, request: &Request<Body>) -> Result<(), (StatusCode, String)> {
        let authority = authority(request).map_err(|reason| (StatusCode::BAD_REQUEST, reason.to_owned()))?;
        if self.0.configured.is_none() || self.allows(&authority, &DEFAULT_PORTS) {
            return Ok(());
        }
        let reason = format!(
            "This server is not called \"{authority}\". If that is one of its names, allow it with --allowed-host.\n"
        );
        Err((StatusCode::MISDIRECTED_REQUEST, reason))
    }

    /// Whether this is a known name of the server. Browsers leave out the port of their scheme, so a host without a port stands
    /// for the default ports.
    pub(super) fn allows(&self, authority: &Authority, default_ports: &[u16]) -> bool {
        let host = authority.host();
        if matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
            return true;
        }
        let has_port = |port: u16| match authority.port_u16() {
            Some(named) => named == port,
            // What follows the host may also be a port that is no number.
            None => authority.as_str() == host && default_ports.contains(&port),
        };
        if let (Some(listen), Ok(address)) = (self.0.listen, host.trim_matches(['[', ']']).parse::<IpAddr>()) {
            // An address is no name that a page can choose, so every one of them is that of a server that listens on all.
            let same = listen.ip().is_unspecified() || listen.ip() == address;
            if same && has_port(listen.port()) {
                return true;
            }
        }
        let with_port = |name: &str| {
            let (name, port) = name.rsplit_once(':')?;
            Some(name.eq_ignore_ascii_case(host) && has_port(port.parse().ok()?))
        };
        let is = |name: &String| name.eq_ignore_ascii_case(host) || with_port(name) == Some(true);
        self.0.configured.iter().flatten().any(is)
    }
}

/// The host that a request names: HTTP/2 has it in the URI, HTTP/1.1 in exactly one `Host`.
fn authority(request: &Request<Body>) -> Result<Authority, &'static str> {
    let mut named = request.headers().get_all(header::HOST).iter();
    let header = match (named.next(), named.next()) {
        (_, Some(_)) => return Err("The request has several Host headers.\n"),
        (Some(host), None) => Some(read(host).ok_or("The Host of the request is malformed.\n")?),
        (None, None) => None,
    };
    let in_uri = request.uri().authority().cloned();
    if request.version() < Version::HTTP_2 {
        return header.ok_or("The request has no Host header.\n");
    }
    match (in_uri, header) {
        (Some(uri), Some(header)) if !uri.as_str().eq_ignore_ascii_case(header.as_str()) => {
            Err("The request names two hosts.\n")
        }
        (Some(host), _) | (None, Some(host)) => Ok(host),
        (None, None) => Err("The request names no host.\n"),
    }
}

/// A host with an optional port. A user name before it is refused, since it makes one name look like another.
fn read(host: &HeaderValue) -> Option<Authority> {
    let host: Authority = host.to_str().ok()?.parse().ok()?;
    (!host.as_str().contains('@')).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, uri: &str, hosts: &[&str]) -> Request<Body> {
        let mut request = Request::post(uri).version(version).body(Body::empty()).unwrap();
        for host in hosts {
            request.headers_mut().append(header::HOST, host.parse().unwrap());
        }
        request
    }

    #[test]
    fn only_known_names_are_served() {
        let hosts =
            Hosts::new("192.0.2.7:50051".parse().ok(), &["tickets.example".to_owned(), "a.example:81".to_owned()]);
        for (host, expected) in [
            ("localhost:3000", true),
            ("127.0.0.1", true),
            ("[::1]:50051", true),
            ("192.0.2.7:50051", true),
            ("192.0.2.7:81", false),
            ("192.0.2.8:50051", false),
            ("tickets.example", true),
            ("TICKETS.example:8443", true),
            ("a.example:81", true),
            ("a.example", false),
            ("rebind.test:50051", false),
            ("localhost.evil.example", false),
            ("tickets.example@rebind.test", false),
        ] {
            let served = hosts.check(&request(Version::HTTP_11, "/x", &[host])).is_ok();
            assert_eq!(served, expected, "{host}");
        }
        let all = Hosts::new("0.0.0.0:50051".parse().ok(), &[]);
        assert!(all.check(&request(Version::HTTP_11, "/x", &["192.0.2.8:50051"])).is_ok());
        assert!(all.check(&request(Version::HTTP_11, "/x", &["rebind.test:50051"])).is_err());
        let any = Hosts::new(None, &["*".to_owned()]);
        assert!(any.check(&request(Version::HTTP_11, "/x", &["rebind.test"])).is_ok());
    }

    #[test]
    fn a_host_without_a_port_stands_for_the_ports_of_http_and_https() {
        for (listen, host, expected) in [
            ("192.0.2.7:80", "192.0.2.7", true),
            ("192.0.2.7:443", "192.0.2.7", true),
            ("[2001:db8::7]:80", "[2001:db8::7]", true),
            ("0.0.0.0:80", "192.0.2.7", true),
            ("192.0.2.7:80", "192.0.2.7:80", true),
            ("192.0.2.7:80", "192.0.2.7:443", false),
            ("192.0.2.7:80", "192.0.2.7:", false),
            ("192.0.2.7:80", "192.0.2.7:65616", false),
            ("192.0.2.7:80", "192.0.2.8", false),
            ("192.0.2.7:50051", "192.0.2.7", false),
            ("192.0.2.7:50051", "web.example", true),
            ("192.0.2.7:50051", "WEB.example:443", true),
            ("192.0.2.7:50051", "web.example:80", false),
        ] {
            let hosts = Hosts::new(listen.parse().ok(), &["web.example:443".to_owned()]);
            let served = hosts.check(&request(Version::HTTP_11, "/x", &[host])).is_ok();
            assert_eq!(served, expected, "{listen} {host}");
        }
    }

    #[test]
    fn a_request_names_exactly_one_host() {
        let hosts = Hosts::new(None, &["*".to_owned()]);
        let status = |request: Request<Body>| hosts.check(&request).err().map(|(status, _)| status.as_u16());
        assert_eq!(status(request(Version::HTTP_11, "/x", &[])), Some(400));
        assert_eq!(status(request(Version::HTTP_11, "/x", &["a.example", "a.example"])), Some(400));
        assert_eq!(status(request(Version::HTTP_11, "/x", &["a b"])), Some(400));
        assert_eq!(status(request(Version::HTTP_2, "/x", &[])), Some(400));
        assert_eq!(status(request(Version::HTTP_2, "http://a.example/x", &["b.example"])), Some(400));
        assert_eq!(status(request(Version::HTTP_2, "http://a.example/x", &["A.example"])), None);
        assert_eq!(status(request(Version::HTTP_2, "/x", &["a.example"])), None);
    }
}
