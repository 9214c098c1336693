//! The console: lines are collected in memory and written to standard output by a thread of its own.
//!
//! Promises: logging never waits for a terminal, a pipe or a disk. Lines come out whole and in order. Memory is bounded:
//! when standard output is not read, lines are dropped and counted, and a line reports the gap.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

use super::metrics;

/// Bytes that may wait in memory. Further lines are dropped.
const CAPACITY: usize = 4 << 20;
/// Bytes from which on the writer is woken before `GATHER` is over.
const LARGE: usize = 256 << 10;
/// How long lines wait for further lines: writing many at once costs as much as writing one.
const GATHER: Duration = Duration::from_millis(5);
/// After this long without a line the writer sleeps until it is woken.
const IDLE: Duration = Duration::from_millis(200);

/// A handle on the console. Cloning it is cheap.
#[derive(Clone, Debug)]
pub(super) struct Console(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    dropped: u64,
    /// The writer waits without a timeout, so that the next line must wake it.
    asleep: bool,
    closing: bool,
}

/// Waits, on `close`, until all lines are written.
#[derive(Debug)]
pub(super) struct Writer {
    console: Console,
    finished: mpsc::Receiver<()>,
}

impl Console {
    /// Starts the thread that writes to `out`.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<(Self, Writer)> {
        let console = Self(Arc::new(Shared { state: Mutex::default(), woken: Condvar::new() }));
        let (done, finished) = mpsc::sync_channel(1);
        let shared = Arc::clone(&console.0);
        thread::Builder::new().name("console".to_owned()).spawn(move || {
            shared.run(out);
            let _ = done.send(());
        })?;
        Ok((console.clone(), Writer { console, finished }))
    }

    /// Adds one or several lines. Each must end in a newline.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.lines.len() + line.len() > CAPACITY {
            state.dropped += 1;
            return;
        }
        let was_large = state.lines.len() >= LARGE;
        state.lines.extend_from_slice(line);
        if state.asleep || (!was_large && state.lines.len() >= LARGE) {
            state.asleep = false;
            self.0.woken.notify_one();
        }
    }
}

impl Shared {
    fn run(&self, mut out: impl Write) {
        let mut lines = Vec::new();
        loop {
            let (dropped, closing) = self.gather(&mut lines);
            // A closed pipe must not end the service; the lines are lost.
            let _ = out.write_all(&lines);
            if dropped > 0 {
                metrics::lines_dropped(dropped);
                let _ = writeln!(out, "({dropped} lines dropped here: standard output did not keep up)");
            }
            let _ = out.flush();
            lines.clear();
            lines.shrink_to(LARGE);
            if closing {
                return;
            }
        }
    }

    /// Waits for lines and moves them into `lines`. Returns the number of dropped lines, and whether these are the last.
    fn gather(&self, lines: &mut Vec<u8>) -> (u64, bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        while !state.closing && state.lines.len() < LARGE {
            if state.lines.is_empty() && began.elapsed() >= IDLE {
                state.asleep = true;
                state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let waited = self.woken.wait_timeout(state, GATHER).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            if waited.1.timed_out() && !state.lines.is_empty() {
                break;
            }
        }
        std::mem::swap(&mut state.lines, lines);
        (std::mem::take(&mut state.dropped), state.closing)
    }
}

impl Writer {
    /// Writes the lines that are left, for at most `limit`.
    pub(super) fn close(&self, limit: Duration) {
        self.console.0.state.lock().unwrap_or_else(PoisonError::into_inner).closing = true;
        self.console.0.woken.notify_one();
        let _ = self.finished.recv_timeout(limit);
    }
}

impl<'a> MakeWriter<'a> for Console {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The subscriber writes each event in one call.
impl Write for Console {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records what is written. Holding its lock blocks the writer.
    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<Vec<u8>>>);

    impl Write for Recorder {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn closing_writes_everything_in_order() {
        let recorder = Recorder::default();
        let (console, writer) = Console::start(recorder.clone()).unwrap();
        let mut expected = Vec::new();
        for number in 0..10_000 {
            let line = format!("line {number}\n");
            console.push(line.as_bytes());
            expected.extend_from_slice(line.as_bytes());
        }
        writer.close(Duration::from_secs(10));
        assert!(*recorder.0.lock().unwrap() == expected);
    }

    #[test]
    fn a_blocked_standard_output_costs_lines_and_nothing_else() {
        let recorder = Recorder::default();
        let (console, writer) = Console::start(recorder.clone()).unwrap();
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        let held = recorder.0.lock().unwrap();
        // The writer may hold one full buffer while another one waits. A third is dropped.
        for _ in 0..(3 * CAPACITY / line.len()) {
            console.push(&line);
        }
        drop(held);
        writer.close(Duration::from_secs(10));
        let written = recorder.0.lock().unwrap();
        assert!(written.len() <= 2 * CAPACITY + 200, "{}", written.len());
        assert!(String::from_utf8_lossy(&written).contains("lines dropped here"));
    }
}
