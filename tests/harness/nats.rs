//! A private NATS server for a test. It can be killed, paused and restarted.

use std::{fs, process::Command, time::Duration};

use async_nats::{
    ConnectOptions,
    jetstream::{
        self,
        consumer::{AckPolicy, pull},
        stream::Config,
    },
};
use futures_util::StreamExt as _;
use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    brokers::Delivered,
    process::{Process, on_a_free_port},
    supervisor,
};

pub(crate) struct Nats {
    port: u16,
    server: Process,
    folder: TempDir,
    /// How the test itself connects.
    options: Box<ConnectOptions>,
}

impl Nats {
    /// Starts a server with these lines in its configuration.
    pub(crate) async fn start(config: &str) -> Self {
        let folder = supervisor::folder("nats-");
        let start = |port| spawn(port, &folder, config);
        let (port, server) = on_a_free_port("NATS", "address already in use", ready, start).await;
        Self { port, server, folder, options: Box::default() }
    }

    /// Lets the test itself connect with these options.
    pub(crate) fn with_options(self, change: impl FnOnce(ConnectOptions) -> ConnectOptions) -> Self {
        Self { options: Box::new(change(*self.options)), ..self }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn pause(&self) {
        self.server.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.server.signal(Signal::CONT);
    }

    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts the server again with its files and these lines in its configuration.
    pub(crate) async fn restart(&mut self, config: &str) {
        self.server.kill();
        self.server = spawn(self.port, &self.folder, config);
        self.server.console().find("that it is ready", ready).await;
    }

    async fn context(&self) -> jetstream::Context {
        let address = format!("localhost:{}", self.port);
        jetstream::new((*self.options).clone().connect(address).await.expect("NATS listens"))
    }

    /// Makes the stream of the events, or changes it: with this subject, and this limit of the bytes of a message.
    pub(crate) async fn make_stream(&self, subject: &str, max_message_size: i32) {
        let (name, subjects) = ("BOXOFFICE".to_owned(), vec![subject.to_owned()]);
        let config = Config { name, subjects, max_message_size, ..Config::default() };
        self.context().await.create_or_update_stream(config).await.expect("a stream");
    }

    pub(crate) async fn messages(&self) -> Vec<Delivered> {
        let context = self.context().await;
        let Ok(mut stream) = context.get_stream("BOXOFFICE").await else { return Vec::new() };
        let count = stream.info().await.expect("a stream").state.messages;
        if count == 0 {
            return Vec::new();
        }
        // Without acknowledgements there is no limit of those that are missing.
        let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
        let consumer = stream.create_consumer(config).await.expect("a consumer");
        let batch = consumer.fetch().max_messages(count as usize).expires(Duration::from_secs(5)).messages();
        let mut batch = batch.await.expect("messages");
        let mut messages = Vec::new();
        while let Some(message) = batch.next().await {
            let message = message.expect("a message");
            let headers = message.headers.as_ref().expect("headers").iter();
            let headers = headers.map(|(name, values)| (name.to_string().to_lowercase(), values[0].to_string()));
            messages.push(Delivered::new(headers.collect(), message.subject.to_string(), &message.payload));
        }
        messages
    }
}

fn ready(line: &str) -> Option<()> {
    line.contains("Server is ready").then_some(())
}

fn spawn(port: u16, folder: &TempDir, config: &str) -> Process {
    let found = Command::new("nats-server").arg("--version").output();
    assert!(found.is_ok(), "no NATS server is installed: `apt-get install nats-server` (Debian)");
    let file = folder.path().join("nats.conf");
    fs::write(&file, config).expect("a configuration");
    let mut command = Command::new("nats-server");
    command.current_dir(folder).args([
        "--addr",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--jetstream",
        "--store_dir",
    ]);
    command.arg(folder.path().join("data")).arg("--config").arg(file);
    Process::spawn("NATS", command, Signal::KILL)
}
