//! HTTP/2 written by hand, frame by frame, so that a test can break the protocol.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const END_HEADERS: u8 = 4;

/// `POST /` over http to the authority `x`, as entries of HPACK's static table and one literal.
pub(crate) const REQUEST: [u8; 6] = [0x83, 0x86, 0x84, 0x41, 1, b'x'];

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What every client begins with: the preface, and a SETTINGS frame without settings.
pub(crate) fn preface() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat()
}

/// Opens a connection and sends these bytes. The server may close the connection before it has read them all.
pub(crate) async fn send(address: &str, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let _ = stream.write_all(bytes).await;
    stream
}

/// Waits until the server has closed the connection.
pub(crate) async fn closed(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
}

/// Whether the server sends anything before it closes the connection.
pub(crate) async fn is_served(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0; 1]).await.is_ok_and(|length| length > 0)
}
