//! Honest clients: each sale is a reservation of one free seat, and then its confirmation. An answer after the deadline is no use.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use super::{
    pipe::{Pipe, RECONNECT, Turn},
    plan::{CLIENT_LIMIT, CONNECTIONS, DEADLINE, Demand, Shared},
};
use crate::{
    contention::messages::{self, Random},
    wire::{
        client::PREFIX,
        raw_client::{DATA, END_HEADERS, END_STREAM, Frame, HEADERS, RST_STREAM, WINDOW_UPDATE, announced_length},
    },
};

/// A window update is sent after so many bytes. The connection begins with nearly 64 KiB.
const UPDATE_AFTER: u32 = 1 << 14;

/// The headers of honest calls: of the first one on a connection, a reservation, then of further ones.
pub(crate) struct Headers {
    pub(crate) first: Bytes,
    pub(crate) reserve: Bytes,
    pub(crate) confirm: Bytes,
}

/// Keeps one connection open until the end of the load.
pub(crate) async fn run(shared: Arc<Shared>, headers: Arc<Headers>, number: usize) {
    let mut random = Random::new(shared.plan.seed, number);
    while shared.phase(Instant::now()).is_some() {
        let Ok(pipe) = Pipe::connect(&shared.plan.address, &[]).await else {
            tokio::time::sleep(RECONNECT).await;
            continue;
        };
        let mut connection = Connection {
            shared: &shared,
            headers: &headers,
            random: &mut random,
            pipe,
            next_stream: 1,
            open: HashMap::new(),
            deadlines: VecDeque::new(),
            due: 0.0,
            ticked: None,
            received: 0,
        };
        if connection.drive().await.is_err() {
            connection.lost();
            tokio::time::sleep(RECONNECT).await;
        }
    }
}

struct Connection<'s> {
    shared: &'s Shared,
    headers: &'s Headers,
    random: &'s mut Random,
    pipe: Pipe,
    next_stream: u32,
    open: HashMap<u32, Call>,
    /// Streams of the calls in the order in which they were made.
    deadlines: VecDeque<(Instant, u32)>,
    /// Calls that are due, at a rate.
    due: f64,
    ticked: Option<Instant>,
    /// Bytes received since the last window update.
    received: u32,
}

struct Call {
    sent: Instant,
    confirms: bool,
    answer: BytesMut,
}

impl Connection<'_> {
    /// Makes calls until the load ends, or fails with the connection.
    async fn drive(&mut self) -> io::Result<()> {
        while let Some(phase) = self.shared.phase(Instant::now()) {
            let demand = phase.honest;
            match self.pipe.turn().await? {
                Turn::Tick(now) => self.tick(now, demand),
                Turn::Moved => {
                    while let Some(frame) = self.pipe.frame()? {
                        self.handle(&frame);
                    }
                    if let Demand::Callers(callers) = demand {
                        self.fill(callers);
                    }
                }
            }
        }
        Ok(())
    }

    fn tick(&mut self, now: Instant, demand: Demand) {
        while let Some((sent, stream)) = self.deadlines.front().copied().filter(|(sent, _)| now - *sent >= DEADLINE) {
            self.deadlines.pop_front();
            if self.open.contains_key(&stream) {
                self.end(stream, false);
                self.shared.count(sent, |window| window.late += 1);
                self.pipe.reset(stream);
            }
        }
        let elapsed = self.ticked.replace(now).map_or(Duration::ZERO, |before| now - before);
        match demand {
            Demand::Callers(callers) => self.fill(callers),
            Demand::Rate(rate) => {
                self.due += rate / CONNECTIONS as f64 * elapsed.as_secs_f64();
                while self.due >= 1.0 {
                    self.due -= 1.0;
                    if self.open.len() < CLIENT_LIMIT {
                        self.reserve();
                    } else {
                        self.shared.count(now, |window| window.given_up += 1);
                    }
                }
            }
        }
    }

    fn fill(&mut self, callers: usize) {
        while self.open.len() < callers / CONNECTIONS {
            self.reserve();
        }
    }

    fn reserve(&mut self) {
        let showtimes = &self.shared.plan.showtimes;
        let at = self.random.below(showtimes.len());
        let block = self.shared.seats.take(at, 1).expect("enough seats for the load");
        let customer = messages::customer(self.random);
        let message = messages::reserve(&showtimes[at], block.seats(), &customer, Some(self.random.uuid()), &[]);
        self.call(false, &message);
    }

    fn confirm(&mut self, reservation: &str) {
        let message = messages::confirm_or_cancel(reservation, Some(self.random.uuid()));
        self.call(true, &message);
    }

    fn call(&mut self, confirms: bool, message: &[u8]) {
        let stream = self.next_stream;
        self.next_stream += 2;
        let Headers { first, reserve, confirm } = self.headers;
        let headers = match (stream, confirms) {
            (1, _) => first,
            (_, false) => reserve,
            (_, true) => confirm,
        };
        self.pipe.write(HEADERS, END_HEADERS, stream, headers);
        self.pipe.write(DATA, END_STREAM, stream, message);
        let sent = Instant::now();
        self.open.insert(stream, Call { sent, confirms, answer: BytesMut::new() });
        self.deadlines.push_back((sent, stream));
        if confirms {
            self.shared.count(sent, |window| window.confirmations += 1);
        }
    }

    fn handle(&mut self, frame: &Frame) {
        let Frame { kind, flags, stream, ref content } = *frame;
        match kind {
            DATA => {
                self.received += content.len() as u32;
                if self.received > UPDATE_AFTER {
                    self.pipe.write(WINDOW_UPDATE, 0, 0, &std::mem::take(&mut self.received).to_be_bytes());
                }
                if let Some(call) = self.open.get_mut(&stream) {
                    call.answer.extend_from_slice(content);
                }
            }
            HEADERS if flags & END_STREAM == 0 => {}
            HEADERS | RST_STREAM => self.end(stream, true),
            _ => {}
        }
    }

    /// Ends a call. It was served if it has a whole message: an error status has none before it.
    fn end(&mut self, stream: u32, answered: bool) {
        let Some(Call { sent, confirms, answer }) = self.open.remove(&stream) else { return };
        if !answered {
            return;
        }
        let now = Instant::now();
        if announced_length(&answer) != Some(answer.len()) {
            self.shared.count(sent, |window| window.refused += 1);
            return;
        }
        let took = (now - sent).as_micros() as u32;
        self.shared.count(now, |window| window.served += 1);
        self.shared.count(sent, |window| {
            window.longest = window.longest.max(took);
            window.confirmations_served += u32::from(confirms);
        });
        if !confirms {
            let reservation = messages::reservation_id(answer.freeze().slice(PREFIX..));
            self.confirm(&reservation);
        }
    }

    /// Counts the calls of a connection that was closed.
    fn lost(&mut self) {
        self.shared.count(Instant::now(), |window| window.closed += 1);
        for call in self.open.values() {
            self.shared.count(call.sent, |window| window.refused += 1);
        }
    }
}
