//! A private RabbitMQ server for a test. It can be killed, paused and restarted.

use std::{fs, path::Path, process::Command};

use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{
        BasicGetOptions, BasicNackOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    brokers::Delivered,
    process::{Process, START, free_port, on_a_free_port},
    supervisor,
};

/// Debian's command runs the server as a user of its own. This is the server itself.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/// The queue from which the test reads.
const QUEUE: &str = "test";
const FULL_QUEUE: &str = "full";

pub(crate) struct RabbitMq {
    port: u16,
    server: Process,
    /// The names of Erlang nodes on this machine. Without one of its own the server would start one that outlives the test.
    names: Process,
    ports: (u16, u16),
    folder: TempDir,
    /// The user and the password of the test itself, with `:` between and `@` after them.
    user: String,
}

impl RabbitMq {
    /// Starts a server with these lines in its configuration.
    pub(crate) async fn start(config: &str) -> Self {
        let folder = supervisor::folder("rabbitmq-");
        let mut others = None;
        let start = |port| {
            let ports = (free_port(), free_port());
            write_config(folder.path(), port, config);
            others = Some((names(ports.0), ports));
            spawn(ports, folder.path())
        };
        let (port, server) = on_a_free_port("RabbitMQ", "eaddrinuse", ready, start).await;
        let (names, ports) = others.expect("it was started");
        Self { port, server, names, ports, folder, user: String::new() }
    }

    /// Lets the test itself connect as this user. Both are percent-encoded.
    pub(crate) fn with_user(self, user: &str, password: &str) -> Self {
        Self { user: format!("{user}:{password}@"), ..self }
    }

    pub(crate) fn url(&self) -> String {
        format!("amqp://127.0.0.1:{}", self.port)
    }

    pub(crate) fn pause(&self) {
        self.server.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.server.signal(Signal::CONT);
    }

    pub(crate) fn kill(&mut self) {
        self.server.kill();
        self.names.kill();
    }

    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.names = names(self.ports.0);
        self.server = spawn(self.ports, self.folder.path());
        let started = self.server.console().search_within(START, ready).await;
        started.unwrap_or_else(|why| panic!("RabbitMQ {why} and is not ready:\n{}", self.server.console()));
    }

    async fn channel(&self) -> (Connection, Channel) {
        let url = self.url().replace("://", &format!("://{}", self.user));
        let connection = Connection::connect(&url, ConnectionProperties::default()).await.expect("RabbitMQ listens");
        let channel = connection.create_channel().await.expect("a channel");
        (connection, channel)
    }

    /// Binds the queue from which the test reads to these routing keys of the exchange. Both are made if they are missing.
    pub(crate) async fn bind(&self, keys: &str) {
        self.bind_queue(QUEUE, FieldTable::default(), keys).await;
    }

    /// The same for a queue that is full. It refuses what comes.
    pub(crate) async fn bind_full_queue(&self, keys: &str) {
        let mut limits = FieldTable::default();
        limits.insert("x-max-length".into(), AMQPValue::LongLongInt(0));
        limits.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        self.bind_queue(FULL_QUEUE, limits, keys).await;
    }

    async fn bind_queue(&self, queue: &str, limits: FieldTable, keys: &str) {
        let (_connection, channel) = self.channel().await;
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let (exchange, none) = ("boxoffice.events", FieldTable::default());
        channel
            .exchange_declare(exchange.into(), lapin::ExchangeKind::Topic, durable, none.clone())
            .await
            .expect("an exchange");
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(queue.into(), durable, limits).await.expect("a queue");
        let options = QueueBindOptions::default();
        channel.queue_bind(queue.into(), exchange.into(), keys.into(), options, none).await.expect("a binding");
    }

    /// Removes that queue.
    pub(crate) async fn remove_full_queue(&self) {
        let (_connection, channel) = self.channel().await;
        channel.queue_delete(FULL_QUEUE.into(), QueueDeleteOptions::default()).await.expect("the queue is there");
    }

    /// Makes the exchange with this kind.
    pub(crate) async fn make_exchange(&self, kind: lapin::ExchangeKind) {
        let (_connection, channel) = self.channel().await;
        let options = ExchangeDeclareOptions::default();
        channel
            .exchange_declare("boxoffice.events".into(), kind, options, FieldTable::default())
            .await
            .expect("an exchange");
    }

    /// The messages in the queue, which stay there.
    pub(crate) async fn messages(&self) -> Vec<Delivered> {
        let (connection, channel) = self.channel().await;
        let mut messages = Vec::new();
        let mut last = None;
        while let Some(got) = channel.basic_get(QUEUE.into(), BasicGetOptions::default()).await.expect("a queue") {
            let delivery = got.delivery;
            let headers = delivery.properties.headers().as_ref().expect("headers").inner().iter();
            let mut headers: Vec<_> = headers
                .map(|(name, value)| {
                    let AMQPValue::LongString(value) = value else { panic!("{name} is no text: {value:?}") };
                    (name.to_string().to_lowercase(), value.to_string())
                })
                .collect();
            for (name, value) in
                [("content-type", delivery.properties.content_type()), ("message-id", delivery.properties.message_id())]
            {
                headers.push((name.to_owned(), value.as_ref().expect(name).to_string()));
            }
            messages.push(Delivered::new(headers, delivery.routing_key.to_string(), &delivery.data));
            last = Some(delivery.delivery_tag);
        }
        if let Some(last) = last {
            let options = BasicNackOptions { multiple: true, requeue: true };
            channel.basic_nack(last, options).await.expect("the messages go back");
        }
        connection.close(200, "done".into()).await.expect("the connection closes");
        messages
    }
}

fn ready(line: &str) -> Option<()> {
    line.contains("Server startup complete").then_some(())
}

fn names(port: u16) -> Process {
    let mut command = Command::new("epmd");
    command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
    Process::spawn("epmd", command, Signal::KILL)
}

fn write_config(folder: &Path, port: u16, config: &str) {
    let config = format!("listeners.tcp.1 = 127.0.0.1:{port}\n{config}\n");
    fs::write(folder.join("rabbitmq.conf"), config).expect("a configuration");
    fs::write(folder.join("plugins"), "[].").expect("a list of plugins");
}

fn spawn((names, nodes): (u16, u16), folder: &Path) -> Process {
    assert!(Path::new(SERVER).exists(), "no RabbitMQ is installed: `apt-get install rabbitmq-server` (Debian)");
    let mut command = Command::new(SERVER);
    command
        .current_dir(folder)
        .env("HOME", folder)
        .env("ERL_EPMD_PORT", names.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODENAME", "test@localhost")
        .env("RABBITMQ_DIST_PORT", nodes.to_string())
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
        // With it the script becomes the server, instead of being its parent.
        .env("RABBITMQ_ALLOW_INPUT", "true")
        .env("RABBITMQ_SERVER_START_ARGS", "-noinput")
        .env("RABBITMQ_MNESIA_BASE", folder.join("data"))
        .env("RABBITMQ_LOG_BASE", folder.join("log"))
        .env("RABBITMQ_LOGS", "-")
        .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"))
        .env("RABBITMQ_CONF_ENV_FILE", folder.join("none"))
        .env("RABBITMQ_PID_FILE", folder.join("pid"));
    Process::spawn("RabbitMQ", command, Signal::KILL)
}
