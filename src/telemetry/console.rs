//! The console: lines are collected in memory and written to standard output by a thread of its own.
//!
//! Promises: whoever logs never waits for a terminal, a pipe or a disk; lines come out whole and in order; memory is
//! bounded, so when nobody reads, lines are dropped, counted, and the gap is reported.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

use super::metrics;

/// More than this waits in memory for nobody.
const CAPACITY: usize = 4 << 20;
/// From here on the writer is woken before its time.
const LARGE: usize = 256 << 10;
/// How long lines may wait for company: a write of many costs what a write of one does.
const GATHER: Duration = Duration::from_millis(5);
/// After this long without a line the writer sleeps until it is woken.
const IDLE: Duration = Duration::from_millis(200);

/// A cheap handle on the one console.
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
    /// The writer sleeps deeply: whoever writes next must wake it.
    asleep: bool,
    closing: bool,
}

/// Waits, on `close`, until what was said is written.
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

    /// Says a line, or several; each must end in a newline.
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
            // A reader that has gone away (a closed pipe) must not end the service: what it missed is lost.
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

    /// Waits for lines and takes them all, with the number of those lost, and whether these are the last.
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
    /// Writes the rest, for at most this long.
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

/// The subscriber hands over each event in one piece.
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

    /// Shows what was written, and can be held up.
    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
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
        let screen = Screen::default();
        let (console, writer) = Console::start(screen.clone()).unwrap();
        let mut expected = Vec::new();
        for number in 0..10_000 {
            let line = format!("line {number}\n");
            console.push(line.as_bytes());
            expected.extend_from_slice(line.as_bytes());
        }
        writer.close(Duration::from_secs(10));
        assert!(*screen.0.lock().unwrap() == expected);
    }

    #[test]
    fn a_blocked_screen_costs_lines_and_nothing_else() {
        let screen = Screen::default();
        let (console, writer) = Console::start(screen.clone()).unwrap();
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        let held = screen.0.lock().unwrap();
        // One buffer may be in the writer's hands and one more waits: the third cannot be taken.
        for _ in 0..(3 * CAPACITY / line.len()) {
            console.push(&line);
        }
        drop(held);
        writer.close(Duration::from_secs(10));
        let written = screen.0.lock().unwrap();
        assert!(written.len() <= 2 * CAPACITY + 200, "{}", written.len());
        assert!(String::from_utf8_lossy(&written).contains("lines dropped here"));
    }
}
