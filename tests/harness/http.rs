//! HTTP/1.1 written by hand, so that a test controls and sees every byte.

use std::fmt::Write as _;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::DEADLINE;

/// A response. A chunked body is joined.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// A response that arrived over HTTP/2.
    pub(crate) fn new(status: u16, headers: &http::HeaderMap, body: Vec<u8>) -> Self {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Self { status, headers, body }
    }

    /// The values of a header, joined by commas.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value).collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(crate) async fn get(address: &str, path: &str) -> Reply {
    request(address, "GET", path, &[], &[]).await
}

/// Sends one request on a new connection.
pub(crate) async fn request(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let headers = [&[("Host", address)], headers].concat();
    request_with_headers(address, method, path, &headers, body).await
}

/// Sends one request on a new connection, with these headers and no `Host` but theirs.
pub(crate) async fn request_with_headers(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("writing to a string succeeds");
    }
    write!(head, "Content-Length: {}\r\n\r\n", body.len()).expect("writing to a string succeeds");
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&[head.as_bytes(), body].concat()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(DEADLINE, exchange).await.unwrap_or_else(|_| panic!("{method} {path}: no answer in time"));
    let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    parse(&answer).unwrap_or_else(|| panic!("not HTTP/1.1: {}", String::from_utf8_lossy(&answer)))
}

fn parse(answer: &[u8]) -> Option<Reply> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    let headers = lines.map(header).collect::<Option<Vec<_>>>()?;
    let mut reply = Reply { status, headers, body: answer[end + 4..].to_vec() };
    if reply.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        reply.body = dechunk(&reply.body)?;
    }
    Some(reply)
}

fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = rest.get(end + 2 + size + 2..)?;
    }
}
