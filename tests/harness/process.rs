//! A child process: what it prints, the signals it is sent, and its end.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    os::unix::process::CommandExt as _,
    process::{Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{sync::watch, time::timeout};

use super::{DEADLINE, supervisor};

/// A running child. Dropping it kills it.
pub(crate) struct Process {
    pid: Pid,
    ended: watch::Receiver<Option<ExitStatus>>,
    waiter: Option<JoinHandle<()>>,
    console: Console,
}

impl Process {
    /// Starts it, with its output collected and nothing to read. `last` is what ends it if the test process dies first.
    pub(crate) fn spawn(name: &str, mut command: Command, last: Signal) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A terminal's interrupt is for the test process; the supervisor ends the rest in order.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started ({command:?}): {error}"));
        let pid = Pid::from_child(&child);
        supervisor::watch(pid, last);
        let console = Console::new(name);
        console.collect(child.stdout.take().expect("its output is piped"));
        console.collect(child.stderr.take().expect("its output is piped"));
        let (tell, ended) = watch::channel(None);
        let waiter = thread::spawn(move || {
            let status = child.wait().expect("a child can be waited for");
            supervisor::forget(pid);
            tell.send_replace(Some(status));
        });
        Self { pid, ended, waiter: Some(waiter), console }
    }

    pub(crate) fn console(&self) -> &Console {
        &self.console
    }

    /// The most memory that was ever resident, in MiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let peak = status(self.pid.as_raw_nonzero(), "VmHWM:").expect("it runs, on Linux");
        peak.trim_end_matches(" kB").parse::<u64>().expect("a number of kB") / 1024
    }

    /// Sends a signal, unless it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.ended.borrow().is_none() {
            // It may end in between: then there is nobody left to tell, which is fine.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Whether it is stopped, as by SIGSTOP.
    pub(crate) fn is_stopped(&self) -> bool {
        status(self.pid.as_raw_nonzero(), "State:").is_some_and(|state| state.starts_with('T'))
    }

    /// The processes that it has started, whatever group they are in.
    pub(crate) fn children(&self) -> Vec<Pid> {
        let parent = self.pid.as_raw_nonzero().to_string();
        let processes = fs::read_dir("/proc").expect("Linux").flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let children = pids.filter(|pid| status(*pid, "PPid:").as_ref() == Some(&parent));
        children.filter_map(Pid::from_raw).collect()
    }

    /// Waits for its end.
    pub(crate) async fn exit(&self) -> ExitStatus {
        let mut ended = self.ended.clone();
        let status = timeout(DEADLINE, ended.wait_for(Option::is_some)).await;
        let status = status.unwrap_or_else(|_| panic!("{} goes on and on:\n{}", self.console.name, self.console));
        status.expect("the waiter tells before it goes").expect("waited for")
    }

    /// Kills it as a power cut would, and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Some(waiter) = self.waiter.take() {
            waiter.join().expect("the waiter does not panic");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What Linux says of a process under this key, if it is there.
fn status(pid: impl std::fmt::Display, key: &str) -> Option<String> {
    let page = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    page.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned())
}

/// What a child prints, line by line.
#[derive(Clone)]
pub(crate) struct Console {
    name: String,
    lines: watch::Sender<Lines>,
}

#[derive(Default)]
struct Lines {
    printed: Vec<String>,
    /// How many of its outputs are still open.
    open: usize,
}

impl Console {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), lines: watch::Sender::default() }
    }

    fn collect(&self, output: impl Read + Send + 'static) {
        self.lines.send_modify(|lines| lines.open += 1);
        let lines = self.lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n') {
                let Ok(line) = line else { break };
                let line = String::from_utf8_lossy(&line).into_owned();
                lines.send_modify(|lines| lines.printed.push(line));
            }
            lines.send_modify(|lines| lines.open -= 1);
        });
    }

    /// Every line so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.borrow().printed.clone()
    }

    /// Waits for the first line of which `find` makes something, and returns that.
    pub(crate) async fn find<T>(&self, what: &str, find: impl FnMut(&str) -> Option<T>) -> T {
        match self.search(find).await {
            Ok(found) => found,
            Err(why) => panic!("{} {why} without printing {what}:\n{self}", self.name),
        }
    }

    /// The same, or says how the wait ended.
    pub(crate) async fn search<T>(&self, mut find: impl FnMut(&str) -> Option<T>) -> Result<T, &'static str> {
        let mut lines = self.lines.subscribe();
        let (mut found, mut seen) = (None, 0);
        let search = lines.wait_for(|lines| {
            found = lines.printed[seen..].iter().find_map(|line| find(line));
            seen = lines.printed.len();
            found.is_some() || lines.open == 0
        });
        if timeout(DEADLINE, search).await.is_err() {
            return Err("goes on");
        }
        found.ok_or("ended")
    }

    /// Waits for a line with all these words.
    pub(crate) async fn line(&self, words: &[&str]) -> String {
        let fits = |line: &str| words.iter().all(|word| line.contains(word));
        self.find(&format!("{words:?}"), |line| fits(line).then(|| line.to_owned())).await
    }
}

impl std::fmt::Display for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "--- {} printed:", self.name)?;
        for line in &self.lines.borrow().printed {
            writeln!(f, "{line}")?;
        }
        f.write_str("---")
    }
}
