//! The body of a request, frame by frame, with the ways in which a caller can send it.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};

/// Bytes that are longer are not encoded again: each time makes them a third longer.
const MAX_BYTES: usize = 64 << 10;

/// What the body does next.
#[derive(Debug)]
enum Step {
    Data(Bytes),
    Trailers,
    Wait,
    Fail,
    Stop,
}

/// A body that follows a script.
#[derive(Debug)]
pub struct Script(VecDeque<Step>);

impl Script {
    /// Reads the script. Each letter is a step, and what is left of the bytes is sent at the end:
    ///
    /// - `p`: gives the bytes the prefix of a message, with their length;
    /// - `b`: encodes the bytes in base64;
    /// - `0` to `9`: sends so many bytes;
    /// - `k`: sends 1,024 bytes;
    /// - `w`: the next frame is not there when it is asked for, but soon after;
    /// - `t`: sends trailers;
    /// - `f`: the connection breaks;
    /// - `s`: nothing more is sent, and the body does not end.
    #[must_use]
    pub fn new(script: &[u8], mut bytes: Vec<u8>) -> Self {
        let mut steps = VecDeque::new();
        for letter in script {
            let mut send = |count: usize| {
                let rest = bytes.split_off(count.min(bytes.len()));
                Step::Data(std::mem::replace(&mut bytes, rest).into())
            };
            steps.push_back(match letter {
                b'p' => {
                    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
                    bytes.splice(0..0, [&[0], &length[..]].concat());
                    continue;
                }
                b'b' => {
                    if bytes.len() < MAX_BYTES {
                        bytes = BASE64_STANDARD.encode(&bytes).into();
                    }
                    continue;
                }
                b'0'..=b'9' => send(usize::from(letter - b'0')),
                b'k' => send(1_024),
                b'w' => Step::Wait,
                b't' => Step::Trailers,
                b'f' => Step::Fail,
                b's' => Step::Stop,
                _ => continue,
            });
        }
        if !bytes.is_empty() {
            steps.push_back(Step::Data(bytes.into()));
        }
        Self(steps)
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.0.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Data(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Some(Step::Trailers) => Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new())))),
            Some(Step::Fail) => {
                self.0.clear();
                Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())))
            }
            Some(Step::Wait) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Stop) => {
                self.0.push_front(Step::Stop);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}
