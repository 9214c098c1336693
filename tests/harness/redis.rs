//! A private Redis server for a test. It can be killed, paused and restarted.

use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    process::{Process, on_a_free_port},
    supervisor,
};

pub(crate) struct Redis {
    port: u16,
    server: Process,
    folder: TempDir,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        let folder = supervisor::folder("redis-");
        let start = |port| spawn(port, &folder);
        let (port, server) = on_a_free_port("Redis", "Address already in use", ready, start).await;
        Self { port, server, folder }
    }

    /// Returns the value for `--redis-url`.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills the server as a power cut would. Connections break, and new ones are refused.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    /// Pauses the server. Connections stay open, new ones are accepted, and nothing is answered.
    pub(crate) fn pause(&self) {
        self.server.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.server.signal(Signal::CONT);
    }

    /// Starts the server again at the same address, without data.
    pub(crate) async fn restart(&mut self) {
        self.server.kill();
        self.server = spawn(self.port, &self.folder);
        self.server.console().find("that it is ready", ready).await;
    }

    /// Runs a command with `redis-cli` and returns what it prints.
    pub(crate) fn run(&self, command: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-h", "127.0.0.1", "-p", &port]).args(command).output();
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
