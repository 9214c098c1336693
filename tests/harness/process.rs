//! A child process of a test: its output, its signals, its end.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    net::TcpListener,
    os::unix::process::CommandExt as _,
    process::{Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use tokio::{sync::watch, time::timeout};

use super::{DEADLINE, supervisor};

/// A port that no process listens on at the moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// How long a server may take to start. RabbitMQ needs most of a minute on a busy machine.
pub(crate) const START: Duration = Duration::from_secs(90);

/// Starts a server on a free port and waits until it is ready. Another process may take the port before the server does, which then
/// says `taken`. Then another port is tried.
pub(crate) async fn on_a_free_port(
    name: &str,
    taken: &str,
    ready: impl Fn(&str) -> Option<()>,
    mut spawn: impl FnMut(u16) -> Process,
) -> (u16, Process) {
    for _ in 0..5 {
        let port = free_port();
        let server = spawn(port);
        match server.console().search_within(START, &ready).await {
            Ok(()) => return (port, server),
            Err(_) if server.console().lines().iter().any(|line| line.contains(taken)) => {}
            Err(why) => panic!("{name} {why} and is not ready:\n{}", server.console()),
        }
    }
    panic!("{name} found no free port in five attempts")
}

/// A running child. Dropping it kills it.
pub(crate) struct Process {
    pid: Pid,
    ended: watch::Receiver<Option<ExitStatus>>,
    waiter: Option<JoinHandle<()>>,
    console: Console,
}

impl Process {
    /// Starts the process, collects its output, and gives it no input. If the test process ends first, the supervisor ends
    /// this one by `signal`.
    pub(crate) fn spawn(name: &str, mut command: Command, signal: Signal) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // An interrupt from the terminal reaches the test process only. The supervisor then ends the others.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started ({command:?}): {error}"));
        let pid = Pid::from_child(&child);
        supervisor::watch(pid, signal);
        let console = Console::new(name);
        console.collect(child.stdout.take().expect("its output is piped"));
        console.collect(child.stderr.take().expect("its output is piped"));
        let (sender, ended) = watch::channel(None);
        let waiter = thread::spawn(move || {
            let status = child.wait().expect("a child can be waited for");
            supervisor::forget(pid);
            sender.send_replace(Some(status));
        });
        Self { pid, ended, waiter: Some(waiter), console }
    }

    pub(crate) fn console(&self) -> &Console {
        &self.console
    }

    /// Returns the peak of the resident memory in MiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.status_mib("VmHWM:")
    }

    /// Returns the resident memory in MiB.
    pub(crate) fn memory(&self) -> u64 {
        self.status_mib("VmRSS:")
    }

    fn status_mib(&self, key: &str) -> u64 {
        let size = status(self.pid.as_raw_nonzero(), key).expect("the process runs, on Linux");
        size.trim_end_matches(" kB").parse::<u64>().expect("a number of kB") / 1024
    }

    /// Returns the soft limit on open files.
    pub(crate) fn open_files_limit(&self) -> String {
        let limits =
            fs::read_to_string(format!("/proc/{}/limits", self.pid.as_raw_nonzero())).expect("the process runs");
        let values = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("Linux has this limit");
        values.split_whitespace().next().expect("a soft limit").to_owned()
    }

    /// Sets a soft limit. Returns the one before.
    #[cfg(target_os = "linux")]
    pub(crate) fn limit(&self, resource: Resource, soft: u64) -> u64 {
        let Rlimit { maximum, .. } = getrlimit(resource);
        let before = prlimit(Some(self.pid), resource, Rlimit { current: Some(soft), maximum });
        before.expect("the process belongs to the test").current.expect("a limit")
    }

    /// Sends a signal, unless the process has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.ended.borrow().is_none() {
            // The process may end after the check. Then the signal is not needed, and the error is ignored.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Whether the process is stopped, as by SIGSTOP.
    pub(crate) fn is_stopped(&self) -> bool {
        status(self.pid.as_raw_nonzero(), "State:").is_some_and(|state| state.starts_with('T'))
    }

    /// Returns the processes that this one has started, in whatever process group.
    pub(crate) fn children(&self) -> Vec<Pid> {
        let parent = self.pid.as_raw_nonzero().to_string();
        let processes = fs::read_dir("/proc").expect("Linux").flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let children = pids.filter(|pid| status(*pid, "PPid:").as_ref() == Some(&parent));
        children.filter_map(Pid::from_raw).collect()
    }

    /// Waits until the process has ended.
    pub(crate) async fn exit(&self) -> ExitStatus {
        let mut ended = self.ended.clone();
        let status = timeout(DEADLINE, ended.wait_for(Option::is_some)).await;
        let status = status.unwrap_or_else(|_| panic!("{} does not end:\n{}", self.console.name, self.console));
        status.expect("the waiter sends the status before it ends").expect("waited for")
    }

    /// Kills the process as a power cut would, and waits until it has ended.
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

/// Reads a value from the status file of a process, if the process exists.
fn status(pid: impl std::fmt::Display, key: &str) -> Option<String> {
    let page = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    page.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned())
}

/// The output of a child process, line by line.
#[derive(Clone)]
pub(crate) struct Console {
    name: String,
    lines: watch::Sender<Lines>,
}

#[derive(Default)]
struct Lines {
    printed: Vec<String>,
    /// The number of outputs (standard output, standard error) that are still open.
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

    /// Returns all lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.borrow().printed.clone()
    }

    /// Waits for the first line for which `find` returns a value, and returns this value.
    pub(crate) async fn find<T>(&self, what: &str, find: impl FnMut(&str) -> Option<T>) -> T {
        match self.search(find).await {
            Ok(found) => found,
            Err(why) => panic!("{} {why} and has not printed {what}:\n{self}", self.name),
        }
    }

    /// Waits like [`Console::find`], but returns an error if there is no such line.
    pub(crate) async fn search<T>(&self, find: impl FnMut(&str) -> Option<T>) -> Result<T, &'static str> {
        self.search_within(DEADLINE, find).await
    }

    /// Waits like [`Console::search`], for as long as this.
    pub(crate) async fn search_within<T>(
        &self,
        limit: Duration,
        mut find: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, &'static str> {
        let mut lines = self.lines.subscribe();
        let (mut found, mut seen) = (None, 0);
        let search = lines.wait_for(|lines| {
            found = lines.printed[seen..].iter().find_map(|line| find(line));
            seen = lines.printed.len();
            found.is_some() || lines.open == 0
        });
        if timeout(limit, search).await.is_err() {
            return Err("runs");
        }
        found.ok_or("has ended")
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
