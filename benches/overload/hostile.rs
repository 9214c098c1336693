//! Hostile clients. Each goes one way, and makes as many calls as it can.

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use boxoffice::pb::boxoffice::v1::ListShowtimesRequest;
use bytes::Bytes;
use prost::Message as _;

use super::{
    pipe::{Pipe, RECONNECT, Turn},
    plan::{CONNECTIONS, Shared},
};
use crate::wire::{
    client::prefixed_copy,
    raw_client::{DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE},
};

/// The most calls that are open on a connection: a little less than the service allows. For a further one the oldest is reset.
const OPEN: usize = 1_000;
/// Nothing is sent while so many bytes wait to be written.
const BACKLOG: usize = 64 << 10;
/// The size that a message announces that never ends, and what is sent of it.
const ANNOUNCED: u32 = 250_000;
const BEGINNING: usize = 1_000;
/// A page of nearly 64 KiB.
const PAGE: i32 = 145;

/// The headers of calls to `ListShowtimes`: of the first one on a connection, and of the others.
pub(crate) struct Headers {
    pub(crate) first: Bytes,
    pub(crate) list: Bytes,
}

/// What a hostile client does.
#[derive(Clone, Copy)]
enum Way {
    /// It asks for large pages and takes none.
    TakesNothing,
    /// It begins messages and does not end them.
    Unfinished,
    /// It sends headers without a message.
    NoMessage,
    /// It sends messages that cannot be read.
    Malformed,
    /// It resets each call at once.
    Resets,
}

const WAYS: [Way; 5] = [Way::TakesNothing, Way::Unfinished, Way::NoMessage, Way::Malformed, Way::Resets];

/// Keeps one connection open until the end of the load, while there is to be hostile load.
pub(crate) async fn run(shared: Arc<Shared>, headers: Arc<Headers>, number: usize) {
    let way = WAYS[number % WAYS.len()];
    let page = ListShowtimesRequest { page_size: PAGE, ..Default::default() };
    let page = prefixed_copy(&page.encode_to_vec());
    while let Some(phase) = shared.phase(Instant::now()) {
        if phase.hostile > 0.0 {
            let _closed = Box::pin(drive(&shared, &headers, way, &page)).await;
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Makes calls while there is to be hostile load. Fails when the connection is closed.
async fn drive(shared: &Shared, headers: &Headers, way: Way, page: &Bytes) -> io::Result<()> {
    let mut settings = [0, INITIAL_WINDOW_SIZE, 0, 0, 0xff, 0xff];
    if matches!(way, Way::TakesNothing) {
        settings[4..].fill(0);
    }
    let pipe = Pipe::connect(&shared.plan.address, &settings).await?;
    let mut connection =
        Connection { headers, way, page, pipe, next_stream: 1, open: VecDeque::new(), due: 0.0, ticked: None };
    while let Some(phase) = shared.phase(Instant::now()).filter(|phase| phase.hostile > 0.0) {
        match connection.pipe.turn().await {
            Ok(Turn::Tick(now)) => {
                let (sent, held_up) = connection.tick(now, phase.hostile);
                shared.count(now, |window| {
                    window.hostile += sent;
                    window.hostile_held_up += held_up;
                });
            }
            Ok(Turn::Moved) => {
                let mut answered = 0;
                while let Some(frame) = connection.pipe.frame()? {
                    answered += u32::from(frame.kind == HEADERS);
                }
                shared.count(Instant::now(), |window| window.hostile_answered += answered);
            }
            Err(error) => {
                shared.count(Instant::now(), |window| window.closed += 1);
                return Err(error);
            }
        }
    }
    Ok(())
}

struct Connection<'s> {
    headers: &'s Headers,
    way: Way,
    page: &'s Bytes,
    pipe: Pipe,
    next_stream: u32,
    /// Streams that were opened, the oldest first. The service may have ended some.
    open: VecDeque<u32>,
    due: f64,
    ticked: Option<Instant>,
}

impl Connection<'_> {
    /// Makes the calls that are due. Returns how many were made, and how many could not.
    fn tick(&mut self, now: Instant, rate: f64) -> (u32, u32) {
        let elapsed = self.ticked.replace(now).map_or(Duration::ZERO, |before| now - before);
        self.due += rate / CONNECTIONS as f64 * elapsed.as_secs_f64();
        let (mut sent, mut held_up) = (0, 0);
        while self.due >= 1.0 {
            self.due -= 1.0;
            if self.pipe.output.len() < BACKLOG {
                self.call();
                sent += 1;
            } else {
                held_up += 1;
            }
        }
        (sent, held_up)
    }

    fn call(&mut self) {
        let stream = self.next_stream;
        self.next_stream += 2;
        if self.open.len() >= OPEN
            && let Some(oldest) = self.open.pop_front()
        {
            self.pipe.reset(oldest);
        }
        let headers = if stream == 1 { &self.headers.first } else { &self.headers.list };
        self.pipe.write(HEADERS, END_HEADERS, stream, headers);
        match self.way {
            Way::TakesNothing => self.pipe.write(DATA, END_STREAM, stream, self.page),
            Way::Unfinished => {
                let mut beginning = vec![0; BEGINNING];
                beginning[1..5].copy_from_slice(&ANNOUNCED.to_be_bytes());
                self.pipe.write(DATA, 0, stream, &beginning);
            }
            Way::NoMessage => {}
            Way::Malformed => self.pipe.write(DATA, END_STREAM, stream, &[7, 0, 0, 0, 0]),
            Way::Resets => {
                self.pipe.write(DATA, END_STREAM, stream, self.page);
                self.pipe.reset(stream);
            }
        }
        if matches!(self.way, Way::TakesNothing | Way::Unfinished | Way::NoMessage) {
            self.open.push_back(stream);
        }
    }
}
