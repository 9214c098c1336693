//! `boxoffice webhooks` as a process, and endpoints that receive what it delivers, over real HTTP.

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::{Command, Output},
    sync::{Arc, Mutex},
};

use axum::{Router, extract::State, response::IntoResponse, routing::post};
use http::{HeaderMap, StatusCode};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use super::{Database, Server, Store, eventually, process::Process, server::binary, supervisor};

/// The secret of the endpoints.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A request that an endpoint has received.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) timestamp: String,
    pub(crate) signature: String,
    pub(crate) content_type: String,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn event(&self) -> Value {
        serde_json::from_str(&self.body).expect("a body is JSON")
    }

    fn text(&self, attribute: &str) -> String {
        self.event()[attribute].as_str().expect("a text").to_owned()
    }

    /// The id of the event.
    pub(crate) fn event_id(&self) -> String {
        self.text("id")
    }

    /// The type of the event.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.text("type") == format!("boxoffice.v1.{name}")
    }

    /// Whether it is about this showtime.
    pub(crate) fn is_of(&self, showtime_id: &str) -> bool {
        self.text("partitionkey") == showtime_id
    }
}

/// A status, and a header.
pub(crate) type Answer = (u16, Option<(&'static str, String)>);
type Judge = dyn Fn(&Request) -> Answer + Send + Sync;

struct Shared {
    requests: watch::Sender<Vec<Request>>,
    /// Answers are held back while it is shut.
    is_open: watch::Sender<bool>,
    judge: Mutex<Arc<Judge>>,
}

/// An endpoint. It answers 204, unless it is set to something else.
pub(crate) struct Receiver {
    pub(crate) address: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        Self::serve(listener, address)
    }

    /// Receives on this listener, which may be one with TLS.
    pub(crate) fn serve<L>(listener: L, address: String) -> Self
    where
        L: axum::serve::Listener,
        L::Addr: std::fmt::Debug,
    {
        let judge: Arc<Judge> = Arc::new(|_| (204, None));
        let shared = Arc::new(Shared {
            requests: watch::Sender::default(),
            is_open: watch::Sender::new(true),
            judge: Mutex::new(judge),
        });
        let router = Router::new().route("/hooks", post(receive)).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { address, shared, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    /// Sets how requests are answered from now on.
    pub(crate) fn answer(&self, judge: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *self.shared.judge.lock().expect("no panic") = Arc::new(judge);
    }

    /// Holds answers back, or gives them.
    pub(crate) fn open(&self, is_open: bool) {
        self.shared.is_open.send_replace(is_open);
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.borrow().clone()
    }

    /// The ids of the events in the order in which they have come first.
    pub(crate) fn event_ids(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for request in self.requests() {
            let id = request.event_id();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    /// Waits until so many different events have come, or more.
    pub(crate) async fn received(&self, count: usize) -> Vec<Request> {
        eventually(&format!("{count} events are delivered"), async || {
            (self.event_ids().len() >= count).then(|| self.requests())
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> impl IntoResponse {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let request = Request {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        content_type: header("content-type"),
        body,
    };
    shared.requests.send_modify(|requests| requests.push(request.clone()));
    let mut is_open = shared.is_open.subscribe();
    is_open.wait_for(|is_open| *is_open).await.expect("the receiver runs");
    let judge = Arc::clone(&shared.judge.lock().expect("no panic"));
    let (status, header) = judge(&request);
    let mut answer = HeaderMap::new();
    if let Some((name, value)) = header {
        answer.insert(name, value.parse().expect("a value"));
    }
    (StatusCode::from_u16(status).expect("a status"), answer)
}

/// The options of `boxoffice webhooks`, with the state in a folder or a database of its own.
pub(crate) struct Webhooks {
    from: String,
    // The database is dropped before the folder.
    database: Option<Database>,
    folder: TempDir,
    endpoints: Mutex<String>,
}

impl Webhooks {
    pub(crate) async fn of(server: &Server, store: Store) -> Self {
        let database = match store {
            Store::Sqlite => None,
            Store::Postgres => Some(Database::create().await),
        };
        let (from, folder) = (server.address().to_owned(), supervisor::folder("webhooks-"));
        Self { from, database, folder, endpoints: Mutex::default() }
    }

    /// Reads from another address from now on.
    pub(crate) fn from(self, address: &str) -> Self {
        Self { from: address.to_owned(), ..self }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds an endpoint with these further lines.
    pub(crate) fn endpoint(&self, name: &str, url: &str, lines: &str) {
        let mut endpoints = self.endpoints.lock().expect("no panic");
        let secrets = if lines.contains("secrets") { String::new() } else { format!("secrets = ['{SECRET}']\n") };
        write!(endpoints, "[[endpoint]]\nname = '{name}'\nurl = '{url}'\n{secrets}{lines}\n").expect("text");
        fs::write(self.file("endpoints.toml"), &*endpoints).expect("a file");
    }

    /// Adds an endpoint on this machine.
    pub(crate) fn local(&self, name: &str, receiver: &Receiver, lines: &str) {
        self.endpoint(name, &receiver.url(), &format!("allow_private = true\n{lines}"));
    }

    pub(crate) fn command(&self, options: &[&str]) -> Command {
        let mut command = binary();
        command.arg("webhooks").arg(format!("--from=http://{}", self.from));
        command.arg("--endpoints").arg(self.file("endpoints.toml"));
        command.arg("--data-dir").arg(self.folder.path()).args(options);
        if let Some(database) = &self.database {
            command.arg("--database-url").arg(database.url());
        }
        command
    }

    pub(crate) fn spawn(&self, options: &[&str]) -> Process {
        Process::spawn("webhooks", self.command(options), Signal::KILL)
    }

    /// Delivers once. Returns what is printed.
    pub(crate) async fn once(&self, options: &[&str]) -> String {
        let process = self.spawn(&[&["--once"], options].concat());
        let status = process.exit().await;
        assert!(status.success(), "{status}: {}", process.console());
        process.console().to_string()
    }

    pub(crate) fn run(&self, options: &[&str]) -> Output {
        self.command(options).output().expect("the program runs")
    }

    /// What is stored: an object for each endpoint, and for each delivery that was given up.
    pub(crate) fn list(&self) -> Vec<Value> {
        let output = self.run(&["--list"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// What is stored of an endpoint: how many are delivered, waiting, failed.
    pub(crate) fn counts(&self, endpoint: &str) -> [u64; 3] {
        let of = self.list().into_iter().find(|line| line["endpoint"] == endpoint).expect("the endpoint is known");
        ["delivered", "waiting", "failed"].map(|key| of[key].as_u64().expect("a number"))
    }
}
