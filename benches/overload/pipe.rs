//! A connection that is written and read as far as that goes at once, so that one process can offer more calls than the service
//! takes.

use std::{
    io,
    time::{Duration, Instant},
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::Interest,
    net::TcpStream,
    time::{Interval, MissedTickBehavior, interval},
};

use crate::wire::raw_client::{ACK, Frame, PING, PREFACE, READ_BUFFER, RST_STREAM, SETTINGS, write_frame};

/// How long a client waits before it connects again.
pub(crate) const RECONNECT: Duration = Duration::from_millis(20);
const GOAWAY: u8 = 7;
/// The code of a reset by a caller who has given up.
const CANCEL: u32 = 8;
/// The period in which a connection makes the calls that are due.
const TICK: Duration = Duration::from_millis(5);
/// The most that is read in one turn.
const READ_AT_ONCE: usize = 4 * READ_BUFFER;

/// A connection with what is to be written and what was read.
pub(crate) struct Pipe {
    stream: TcpStream,
    pub(crate) output: BytesMut,
    input: BytesMut,
    ticks: Interval,
}

/// What a turn was for.
pub(crate) enum Turn {
    /// Calls may be due.
    Tick(Instant),
    /// Something was read or written.
    Moved,
}

impl Pipe {
    /// Connects and writes the beginning of a connection of HTTP/2 with these settings.
    pub(crate) async fn connect(address: &str, settings: &[u8]) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pipe = Self { stream, output: BytesMut::from(PREFACE), input: BytesMut::new(), ticks };
        pipe.write(SETTINGS, 0, 0, settings);
        Ok(pipe)
    }

    pub(crate) fn write(&mut self, kind: u8, flags: u8, stream: u32, content: &[u8]) {
        write_frame(&mut self.output, kind, flags, stream, content);
    }

    /// Waits until calls may be due or bytes can be moved.
    pub(crate) async fn turn(&mut self) -> io::Result<Turn> {
        self.flush()?;
        let interest =
            if self.output.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        tokio::select! {
            biased;
            at = self.ticks.tick() => Ok(Turn::Tick(at.into_std())),
            ready = self.stream.ready(interest) => {
                if ready?.is_readable() {
                    self.read()?;
                }
                Ok(Turn::Moved)
            }
        }
    }

    fn read(&mut self) -> io::Result<()> {
        while self.input.len() < READ_AT_ONCE {
            self.input.reserve(READ_BUFFER);
            match self.stream.try_read_buf(&mut self.input) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.try_write(&self.output) {
                Ok(written) => self.output.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Resets a call.
    pub(crate) fn reset(&mut self, stream: u32) {
        self.write(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
    }

    /// The next frame of a call that was read. Frames of the connection are answered. Fails if the server ends the connection.
    pub(crate) fn frame(&mut self) -> io::Result<Option<Frame>> {
        while let Some(frame) = Frame::split_from(&mut self.input) {
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.write(SETTINGS, ACK, 0, &[]),
                PING if frame.flags & ACK == 0 => self.write(PING, ACK, 0, &frame.content),
                GOAWAY => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ if frame.stream > 0 => return Ok(Some(frame)),
                _ => {}
            }
        }
        Ok(None)
    }
}
