//! Both ends of a measurement, as processes of their own: a load, and a bare echo to hold the service against.
//!
//! The bench runs itself again under the name of a role; what the role finds out comes back as a line on its output.

pub(crate) mod account;
pub(crate) mod echo;
pub(crate) mod lean;
pub(crate) mod line;
pub(crate) mod load;
pub(crate) mod options;
pub(crate) mod service;
pub(crate) mod table;

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::process::{Pid, Signal};
use serde::{Serialize, de::DeserializeOwned};

use crate::harness::supervisor;

/// This program again, in another role, which ends when it is dropped, or with the bench.
pub(crate) struct Role {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Role {
    /// Starts it and waits for the first line it says.
    pub(crate) fn start(arguments: &[String]) -> (Self, String) {
        let own = std::env::current_exe().expect("the path of this program");
        let mut command = Command::new(own);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program, once more");
        supervisor::watch(Pid::from_child(&child), Signal::KILL);
        let output = BufReader::new(child.stdout.take().expect("its output was asked for"));
        let mut role = Self { child, output };
        let line = role.line();
        (role, line)
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to come to an end, by closing its input, and answers what it found out.
    pub(crate) fn finish<O: DeserializeOwned>(mut self) -> O {
        drop(self.child.stdin.take());
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("it found out nothing: {error}"))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line from it");
        line.trim().to_owned()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        let _ended_by_itself = self.child.kill();
        let _status = self.child.wait();
        supervisor::forget(pid);
    }
}

/// Has a plan carried out by this program in a role; answers with what the role found out.
pub(crate) fn instruct<O: DeserializeOwned>(role: &str, plan: &impl Serialize) -> O {
    let (_role, line) = begin(role, plan);
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("the {role} found out nothing: {error}"))
}

/// Gives a plan to this program in a role; answers when it says the first thing.
pub(crate) fn begin(role: &str, plan: &impl Serialize) -> (Role, String) {
    let file = tempfile::NamedTempFile::new().expect("a file for the plan");
    serde_json::to_writer(&file, plan).expect("the plan to be written");
    let path = file.path().to_str().expect("a readable path").to_owned();
    Role::start(&[role.to_owned(), path])
}

/// The plan in this file.
pub(crate) fn instructions<P: DeserializeOwned>(file: &str) -> P {
    serde_json::from_str(&std::fs::read_to_string(file).expect("the plan")).expect("a plan")
}
