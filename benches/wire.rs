//! Both ends of a measurement: the load, the service or a baseline, and how they are started, measured and compared.
//!
//! Each end is a process of its own. The bench program starts itself again with the name of a role and a plan; what the
//! process in that role measures comes back as one line of JSON on its standard output.

pub(crate) mod client;
pub(crate) mod comparison;
pub(crate) mod echo;
pub(crate) mod load;
pub(crate) mod options;
pub(crate) mod raw_client;
pub(crate) mod service;
pub(crate) mod table;
pub(crate) mod tally;
pub(crate) mod usage;

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::process::{Pid, Signal};
use serde::{Serialize, de::DeserializeOwned};

use crate::harness::supervisor;

/// A process that runs this program in another role. It ends when this value is dropped, or with the bench.
pub(crate) struct RoleProcess {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl RoleProcess {
    /// Starts the process and waits for the first line of its output, which is returned as well.
    pub(crate) fn start(arguments: &[String]) -> (Self, String) {
        let program = std::env::current_exe().expect("the path of this program");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a process of this program");
        supervisor::watch(Pid::from_child(&child), Signal::KILL);
        let output = BufReader::new(child.stdout.take().expect("the output is piped"));
        let mut process = Self { child, output };
        let line = process.read_line();
        (process, line)
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Closes the input of the process, which asks it to end, and returns its result.
    pub(crate) fn finish<O: DeserializeOwned>(mut self) -> O {
        drop(self.child.stdin.take());
        let line = self.read_line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("the process printed no result: {error}"))
    }

    fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line of output");
        line.trim().to_owned()
    }
}

impl Drop for RoleProcess {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        let _already_ended = self.child.kill();
        let _status = self.child.wait();
        supervisor::forget(pid);
    }
}

/// Runs a plan in a process of this role and returns its result.
pub(crate) fn run_role<O: DeserializeOwned>(role: &str, plan: &impl Serialize) -> O {
    let (_process, line) = start_role(role, plan);
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("the {role} process printed no result: {error}"))
}

/// Starts a process of this role with a plan. Returns it together with the first line of its output.
pub(crate) fn start_role(role: &str, plan: &impl Serialize) -> (RoleProcess, String) {
    let file = tempfile::NamedTempFile::new().expect("a file for the plan");
    serde_json::to_writer(&file, plan).expect("the plan is written");
    let path = file.path().to_str().expect("a path in UTF-8").to_owned();
    RoleProcess::start(&[role.to_owned(), path])
}

/// Reads the plan that this process was started with.
pub(crate) fn read_plan<P: DeserializeOwned>(file: &str) -> P {
    serde_json::from_str(&std::fs::read_to_string(file).expect("the file of the plan")).expect("a plan")
}

/// Prints the result of this process for the bench that started it.
pub(crate) fn print_result(result: &impl Serialize) {
    println!("{}", serde_json::to_string(result).expect("a result as JSON"));
}
