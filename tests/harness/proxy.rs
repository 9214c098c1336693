//! A TCP proxy, mostly for Postgres. A test can have it cut a connection when a commit is sent, pause it, or let its address
//! lead to another server.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, watch},
};

/// The moment at which a connection is cut, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The commit does not reach Postgres.
    BeforeCommit,
    /// Postgres commits, and its answer is lost.
    AfterCommit,
}

pub(crate) struct Proxy {
    url: String,
    state: Arc<State>,
}

/// The state that a test sets and waits for.
#[derive(Default)]
struct State {
    /// The address of the server for new connections.
    target: Mutex<String>,
    next_cut: Mutex<Option<Cut>>,
    was_cut: watch::Sender<bool>,
    paused: watch::Sender<bool>,
}

/// One connection through the proxy.
#[derive(Default)]
struct ProxyConnection {
    /// The answer to the commit is to be lost.
    is_cut: AtomicBool,
    closed: Notify,
}

impl Proxy {
    /// Starts a proxy for the database at `url`. [`Proxy::url`] is the URL of the same database by way of the proxy.
    pub(crate) async fn start(url: &str) -> Self {
        let (before, target, name) = parts(url);
        let Self { url: address, state } = Self::to(target).await;
        Self { url: format!("{before}@{address}/{name}"), state }
    }

    /// Starts a proxy for the server at the address `target`. [`Proxy::url`] is the address of the proxy.
    pub(crate) async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State { target: Mutex::new(target.to_owned()), ..State::default() });
        tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { url: address.to_string(), state }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Lets new connections lead to the server of the database at `url`. Open ones stay where they are.
    pub(crate) fn move_to(&self, url: &str) {
        let (_, target, _) = parts(url);
        target.clone_into(&mut self.state.target.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Cuts the connection of the next commit.
    pub(crate) fn cut_at_next_commit(&self, cut: Cut) {
        self.state.was_cut.send_replace(false);
        *self.state.next_cut.lock().unwrap_or_else(PoisonError::into_inner) = Some(cut);
    }

    /// Holds all answers back until [`Proxy::resume`].
    pub(crate) fn pause(&self) {
        self.state.paused.send_replace(true);
    }

    pub(crate) fn resume(&self) {
        self.state.paused.send_replace(false);
    }

    /// Waits until the connection is cut.
    pub(crate) async fn wait_for_cut(&self) {
        self.state.was_cut.subscribe().wait_for(|was_cut| *was_cut).await.expect("the sender is here");
    }
}

/// What is before the address in the URL of a database, the address, and the name of the database.
fn parts(url: &str) -> (&str, &str, &str) {
    let (before, rest) = url.split_once('@').expect("a URL with a user");
    let (address, name) = rest.split_once('/').expect("a URL with a database");
    (before, address, name)
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let target = state.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Ok(server) = TcpStream::connect(&target).await else { continue };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((client_in, client_out), (server_in, server_out)) = (client.into_split(), server.into_split());
        let connection = Arc::new(ProxyConnection::default());
        tokio::spawn(forward_requests(client_in, server_out, Arc::clone(&connection), Arc::clone(&state)));
        tokio::spawn(forward_answers(server_in, client_out, connection, Arc::clone(&state)));
    }
}

/// Forwards what the client sends.
async fn forward_requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    connection: Arc<ProxyConnection>,
    state: Arc<State>,
) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            () = connection.closed.notified() => 0,
        };
        if read == 0 {
            return;
        }
        // A commit is the end of a message, which is so short that it is read at once.
        let commits = contains(&buffer[..read], b"COMMIT\0");
        let cut = if commits { state.next_cut.lock().unwrap_or_else(PoisonError::into_inner).take() } else { None };
        if cut.is_some() {
            connection.is_cut.store(true, Ordering::SeqCst);
        }
        if cut == Some(Cut::BeforeCommit) {
            connection.closed.notify_waiters();
            connection.closed.notify_one();
            state.was_cut.send_replace(true);
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Forwards what the server answers. If the connection is cut, it reads until the commit is done instead, and forwards nothing.
async fn forward_answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    connection: Arc<ProxyConnection>,
    state: Arc<State>,
) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            () = connection.closed.notified() => 0,
        };
        if read == 0 {
            return;
        }
        state.paused.subscribe().wait_for(|paused| !paused).await.expect("the sender is here");
        if connection.is_cut.load(Ordering::SeqCst) {
            if contains(&buffer[..read], b"COMMIT\0") {
                connection.closed.notify_one();
                state.was_cut.send_replace(true);
                return;
            }
        } else if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
