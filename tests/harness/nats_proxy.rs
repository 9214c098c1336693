//! A proxy between the service and NATS that reads what passes. A test has it lose a message or the answer to one, or lets it give
//! each connection only so many answers. It notes which events were sent, and which of them were answered.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::nats::Nats;

/// What is lost of an event, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The message does not reach NATS.
    Message,
    /// NATS stores the message, and its answer is lost.
    Answer,
}

/// What has passed: the id of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    Sent(String),
    Answered(String),
}

pub(crate) struct NatsProxy {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    lost: Option<(String, Lost)>,
    /// How many answers each connection gets, if they are limited.
    most_answers: Option<usize>,
    passed: Vec<Passed>,
}

/// One connection through the proxy.
#[derive(Default)]
struct Connection {
    /// The event of each subject to which NATS answers.
    events: HashMap<String, String>,
    answers: usize,
}

impl NatsProxy {
    pub(crate) async fn to(nats: &Nats) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let state = Arc::default();
        tokio::spawn(accept(listener, nats.port(), Arc::clone(&state)));
        Self { port, state }
    }

    /// The value for `--sink`.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Loses the message of this event, or the answer to it, the next time.
    pub(crate) fn lose(&self, event: &str, lost: Lost) {
        of(&self.state).lost = Some((event.to_owned(), lost));
    }

    /// Lets each connection have so many answers to events. Further ones are lost.
    pub(crate) fn limit_answers(&self, most: usize) {
        of(&self.state).most_answers = Some(most);
    }

    /// What was sent, also if it was lost, and what was answered and not lost, in its order.
    pub(crate) fn passed(&self) -> Vec<Passed> {
        of(&self.state).passed.clone()
    }

    /// The ids of the events that were sent, in their order.
    pub(crate) fn sent(&self) -> Vec<String> {
        let sent = self.passed().into_iter().filter_map(|passed| match passed {
            Passed::Sent(event) => Some(event),
            Passed::Answered(_) => None,
        });
        sent.collect()
    }
}

impl State {
    /// Notes a frame from the service. Returns whether it reaches NATS.
    fn request(&mut self, connection: &mut Connection, frame: &str) -> bool {
        let Some((_, after)) = frame.split_once("\r\nce-id: ") else { return true };
        let event = after.split("\r\n").next().unwrap_or_default().to_owned();
        let reply = frame.split(' ').nth(2).expect("the service asks for an answer");
        connection.events.insert(reply.to_owned(), event.clone());
        let is_lost = self.loses(&event, Lost::Message);
        self.passed.push(Passed::Sent(event));
        !is_lost
    }

    /// Notes a frame from NATS. Returns whether it reaches the service.
    fn answer(&mut self, connection: &mut Connection, frame: &str) -> bool {
        let subject = frame.split(' ').nth(1).unwrap_or_default();
        let Some(event) = connection.events.remove(subject) else { return true };
        let too_many = self.most_answers.is_some_and(|most| connection.answers >= most);
        if too_many || self.loses(&event, Lost::Answer) {
            return false;
        }
        connection.answers += 1;
        self.passed.push(Passed::Answered(event));
        true
    }

    fn loses(&mut self, event: &str, what: Lost) -> bool {
        self.lost.take_if(|(lost, how)| lost == event && *how == what).is_some()
    }
}

fn of<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, port: u16, state: Arc<Mutex<State>>) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((client_in, client_out), (server_in, server_out)) = (client.into_split(), server.into_split());
        let connection = Arc::new(Mutex::new(Connection::default()));
        let (requests, answers) = ((Arc::clone(&connection), Arc::clone(&state)), (connection, Arc::clone(&state)));
        tokio::spawn(forward(client_in, server_out, move |frame| of(&requests.1).request(&mut of(&requests.0), frame)));
        tokio::spawn(forward(server_in, client_out, move |frame| of(&answers.1).answer(&mut of(&answers.0), frame)));
    }
}

/// Forwards the frames that pass.
async fn forward(from: OwnedReadHalf, mut to: OwnedWriteHalf, passes: impl Fn(&str) -> bool) {
    let mut from = BufReader::new(from);
    while let Some(frame) = next(&mut from).await {
        if passes(&String::from_utf8_lossy(&frame)) && to.write_all(&frame).await.is_err() {
            return;
        }
    }
}

/// The next frame: a line, and the message that follows some of them.
async fn next(from: &mut BufReader<OwnedReadHalf>) -> Option<Vec<u8>> {
    let mut frame = Vec::new();
    if from.read_until(b'\n', &mut frame).await.ok()? == 0 {
        return None;
    }
    let line = String::from_utf8_lossy(&frame).into_owned();
    let mut words = line.split_whitespace();
    if words.next().is_some_and(|kind| ["PUB", "HPUB", "MSG", "HMSG"].contains(&kind)) {
        let length: usize = words.last()?.parse().ok()?;
        let begin = frame.len();
        frame.resize(begin + length + 2, 0);
        from.read_exact(&mut frame[begin..]).await.ok()?;
    }
    Some(frame)
}
