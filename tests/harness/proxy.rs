//! A line, mostly to Postgres, that can be cut at the worst moment, when a commit has been sent, or fall silent.

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

/// Where the line is cut, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Postgres never hears of the commit.
    BeforeCommit,
    /// It commits, and its answer is lost.
    AfterCommit,
}

pub(crate) struct Proxy {
    url: String,
    trap: Arc<Trap>,
}

#[derive(Default)]
struct Trap {
    set: Mutex<Option<Cut>>,
    sprung: watch::Sender<bool>,
    silent: watch::Sender<bool>,
}

/// One connection through the proxy.
#[derive(Default)]
struct Line {
    cut: AtomicBool,
    dead: Notify,
}

impl Proxy {
    /// Between whoever takes [`Proxy::url`], and the database at `url`.
    pub(crate) async fn start(url: &str) -> Self {
        let (before, rest) = url.split_once('@').expect("a URL with a user");
        let (target, name) = rest.split_once('/').expect("a URL with a database");
        let Self { url: address, trap } = Self::to(target).await;
        Self { url: format!("{before}@{address}/{name}"), trap }
    }

    /// Between whoever takes [`Proxy::url`] for an address, and whoever listens at this one.
    pub(crate) async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let trap = Arc::new(Trap::default());
        tokio::spawn(accept(listener, target.to_owned(), Arc::clone(&trap)));
        Self { url: address.to_string(), trap }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Cuts the connection of the next commit.
    pub(crate) fn set(&self, cut: Cut) {
        self.trap.sprung.send_replace(false);
        *self.trap.set.lock().unwrap_or_else(PoisonError::into_inner) = Some(cut);
    }

    /// From now on no answer comes through, until it is told otherwise.
    pub(crate) fn silence(&self, silent: bool) {
        self.trap.silent.send_replace(silent);
    }

    /// Waits until the trap has sprung.
    pub(crate) async fn sprung(&self) {
        self.trap.sprung.subscribe().wait_for(|sprung| *sprung).await.expect("the sender is here");
    }
}

async fn accept(listener: TcpListener, target: String, trap: Arc<Trap>) {
    while let Ok((near, _)) = listener.accept().await {
        let Ok(far) = TcpStream::connect(&target).await else { continue };
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        let line = Arc::new(Line::default());
        tokio::spawn(there(near_in, far_out, Arc::clone(&line), Arc::clone(&trap)));
        tokio::spawn(back(far_in, near_out, line, Arc::clone(&trap)));
    }
}

/// Passes on what the server says to Postgres.
async fn there(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: Arc<Line>, trap: Arc<Trap>) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            () = line.dead.notified() => 0,
        };
        if read == 0 {
            return;
        }
        // A commit is the end of a message that is too short to be torn.
        let commits = contains(&buffer[..read], b"COMMIT\0");
        let cut = if commits { trap.set.lock().unwrap_or_else(PoisonError::into_inner).take() } else { None };
        if cut.is_some() {
            line.cut.store(true, Ordering::SeqCst);
        }
        if cut == Some(Cut::BeforeCommit) {
            line.dead.notify_waiters();
            line.dead.notify_one();
            trap.sprung.send_replace(true);
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Passes on what Postgres answers, unless the line is cut: then only waits for the commit to be done.
async fn back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: Arc<Line>, trap: Arc<Trap>) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            () = line.dead.notified() => 0,
        };
        if read == 0 {
            return;
        }
        trap.silent.subscribe().wait_for(|silent| !silent).await.expect("the sender is here");
        if line.cut.load(Ordering::SeqCst) {
            if contains(&buffer[..read], b"COMMIT\0") {
                line.dead.notify_one();
                trap.sprung.send_replace(true);
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
