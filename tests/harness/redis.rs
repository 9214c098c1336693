//! A private Redis server, for the tests that want one: it can be killed, paused and brought back.

use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::{postgres::free_port, process::Process, supervisor};

pub(crate) struct Redis {
    port: u16,
    server: Process,
    folder: TempDir,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        let folder = supervisor::folder("redis-");
        // Somebody may take the port between our look and the start: then look again.
        for _ in 0..5 {
            let port = free_port();
            let server = spawn(port, &folder);
            match server.console().search(ready).await {
                Ok(()) => return Self { port, server, folder },
                Err(_) if server.console().lines().iter().any(|line| line.contains("Address already in use")) => {}
                Err(why) => panic!("Redis {why} and is not ready:\n{}", server.console()),
            }
        }
        panic!("Redis found no free port in five attempts")
    }

    /// What `--redis-url` takes.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it as a power cut would: connections break, new ones are refused.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    /// A black hole: connections stay, new ones are taken, nothing is answered.
    pub(crate) fn pause(&self) {
        self.server.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.server.signal(Signal::CONT);
    }

    /// Comes back at the same address, empty.
    pub(crate) async fn restart(&mut self) {
        self.server.kill();
        self.server = spawn(self.port, &self.folder);
        self.server.console().find("that it is ready", ready).await;
    }

    /// Asks it something: the answer of `redis-cli`.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-h", "127.0.0.1", "-p", &port]).args(words).output();
        let output = output.expect("`redis-cli` is installed with `apt-get install redis-tools` (Debian)");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn ready(line: &str) -> Option<()> {
    line.contains("Ready to accept connections").then_some(())
}

fn spawn(port: u16, folder: &TempDir) -> Process {
    let found = Command::new("redis-server").arg("--version").output();
    assert!(found.is_ok(), "no Redis server is installed: `apt-get install redis-server` (Debian)");
    let mut command = Command::new("redis-server");
    command.current_dir(folder).args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
    Process::spawn("Redis", command, Signal::KILL)
}
