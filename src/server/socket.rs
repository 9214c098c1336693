//! A socket that the runtime can leave alone.
//!
//! While a connection is not read, everything that its client sends would still wake the runtime, and take the processor
//! from other tasks. The socket is therefore not registered for that time.

use std::{io, net};

use tokio::net::TcpStream;

#[derive(Debug)]
enum State {
    Awake(TcpStream),
    Asleep(net::TcpStream),
    Failed,
}

/// A TCP connection, of which the runtime hears only while it is awake.
#[derive(Debug)]
pub(super) struct Socket(State);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(State::Awake(stream))
    }

    /// From now on nothing that arrives wakes the runtime.
    pub(super) fn sleep(&mut self) {
        self.0 = match std::mem::replace(&mut self.0, State::Failed) {
            State::Awake(stream) => stream.into_std().map_or(State::Failed, State::Asleep),
            state => state,
        };
    }

    #[cfg(test)]
    pub(super) fn registered(&self) -> Option<&TcpStream> {
        if let State::Awake(stream) = &self.0 { Some(stream) } else { None }
    }

    /// The connection, to read and to write.
    pub(super) fn awake(&mut self) -> io::Result<&mut TcpStream> {
        if let State::Asleep(_) = self.0
            && let State::Asleep(stream) = std::mem::replace(&mut self.0, State::Failed)
        {
            self.0 = State::Awake(TcpStream::from_std(stream)?);
        }
        match &mut self.0 {
            State::Awake(stream) => Ok(stream),
            _ => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn what_arrives_while_a_socket_is_asleep_is_read_when_it_is_awake() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut socket = Socket::new(listener.accept().await.unwrap().0);
        for _ in 0..3 {
            socket.sleep();
            socket.sleep();
            assert!(socket.registered().is_none());
            client.write_all(b"seats").await.unwrap();
            let mut read = [0; 5];
            socket.awake().unwrap().read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"seats");
            socket.awake().unwrap().write_all(b"sold").await.unwrap();
            client.read_exact(&mut read[..4]).await.unwrap();
        }
    }
}
