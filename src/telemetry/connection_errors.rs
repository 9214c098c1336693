//! What goes wrong with connections: each case is counted, and logged with others of its kind.
//!
//! Promises: a kind has at most one line a second, however many connections an attacker opens. The line has their number and
//! the peer that caused most of them. Memory is bounded: for each kind, 16 peers are remembered until its next line.
//! Deliberately absent: errors of requests, which have their own lines and metrics. Also absent are connections over HTTP/1.1
//! that are closed because no request came in time: most of them are browsers that are idle, and the HTTP library does not
//! tell them from those whose headers are slow.

use std::{
    io,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use tracing::field::display;

use super::{cause, metrics, network::network};

/// What went wrong with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It was closed at once, because there were too many.
    Refused,
    /// It was closed because its first bytes did not arrive in time.
    Silent,
    /// It was closed with the HTTP/2 error `ENHANCE_YOUR_CALM`, for example because its client reset too many streams.
    Flood,
    /// It was closed with another HTTP/2 error.
    ProtocolError,
    /// A request over HTTP/1.1, or something that is neither this nor HTTP/2, could not be read.
    Malformed,
    /// It was closed because its client sent nothing after a ping, not even the answer to it.
    Unanswered,
    /// It was closed because its client did not take an answer, or any byte, in time.
    NotRead,
    /// It was closed because the memory for connections was used up, and it held the most or took no bytes.
    Memory,
    /// The system did not hand out a connection that a client had opened.
    NotAccepted,
}

/// The most peers that are remembered for each kind.
const MAX_PEERS: usize = 16;

static UNLOGGED: [Mutex<Unlogged>; Kind::ALL.len()] = [const { Mutex::new(Unlogged::new()) }; Kind::ALL.len()];

impl Kind {
    const ALL: [Self; 9] = [
        Self::Refused,
        Self::Silent,
        Self::Flood,
        Self::ProtocolError,
        Self::Malformed,
        Self::Unanswered,
        Self::NotRead,
        Self::Memory,
        Self::NotAccepted,
    ];

    /// The label of the metric.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Flood => "flood",
            Self::ProtocolError => "protocol_error",
            Self::Malformed => "malformed",
            Self::Unanswered => "unanswered",
            Self::NotRead => "not_read",
            Self::Memory => "memory",
            Self::NotAccepted => "not_accepted",
        }
    }

    /// What happened, as the log says it.
    fn sentence(self) -> &'static str {
        match self {
            Self::Refused => {
                "connections were closed at once: too many are open (--max-connections, or 64 to the admin port)"
            }
            Self::Silent => "connections were closed: their first bytes did not arrive in time",
            Self::Flood => "connections were closed: their clients reset too many streams, or made too many errors",
            Self::ProtocolError => "connections were closed: their clients violated HTTP/2",
            Self::Malformed => "requests could not be read: they are neither HTTP/2 nor well-formed HTTP/1.1",
            Self::Unanswered => "connections were closed: their clients did not answer a ping (--keepalive-timeout)",
            Self::NotRead => {
                "connections were closed: their clients did not take what they were sent (--delivery-timeout)"
            }
            Self::Memory => "connections were closed: they used most of --connection-memory, and others needed it",
            Self::NotAccepted => "connections could not be accepted; the listener goes on trying",
        }
    }

    /// Changes what is to be logged about this kind.
    fn change<T>(self, change: impl FnOnce(&mut Unlogged) -> T) -> T {
        change(&mut UNLOGGED[self as usize].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Counts what went wrong with a connection of this peer.
pub fn note(kind: Kind, peer: IpAddr) {
    metrics::connection_error(kind.label());
    kind.change(|unlogged| unlogged.add(Some(network(peer))));
}

/// Counts a connection that could not be accepted for this cause.
pub fn not_accepted(error: &io::Error) {
    metrics::connection_error(Kind::NotAccepted.label());
    Kind::NotAccepted.change(|unlogged| {
        unlogged.add(None);
        unlogged.cause.get_or_insert_with(|| cause::of_io(error));
    });
}

/// Logs what was noted since the last call: one line for each kind. It is called every second.
pub fn log() {
    for kind in Kind::ALL {
        let Unlogged { count, peers, cause } = kind.change(std::mem::take);
        if count == 0 {
            continue;
        }
        let worst = peers.into_iter().max_by_key(|(_, count)| *count);
        let (peer, peer_count) = (worst.map(|(peer, _)| display(name(peer))), worst.map(|(_, count)| count));
        let (label, sentence) = (kind.label(), kind.sentence());
        // Browsers open connections in advance and may never use them, and clients vanish when their network does.
        if matches!(kind, Kind::Silent | Kind::Unanswered) {
            tracing::info!(kind = %label, count, peer, peer_count, cause, "{sentence}");
        } else {
            tracing::warn!(kind = %label, count, peer, peer_count, cause, "{sentence}");
        }
    }
}

/// The address of a peer, or its IPv6 network: `203.0.113.7`, `2001:db8::/64`.
fn name(peer: IpAddr) -> String {
    match peer {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(network) => format!("{network}/64"),
    }
}

/// What was noted of one kind since its last line.
#[derive(Debug, Default)]
struct Unlogged {
    count: u64,
    /// The peers that caused most, each with their number of cases. With more than 16 peers the numbers are upper bounds.
    peers: Vec<(IpAddr, u64)>,
    /// The first cause, where the system gives one.
    cause: Option<String>,
}

impl Unlogged {
    const fn new() -> Self {
        Self { count: 0, peers: Vec::new(), cause: None }
    }

    fn add(&mut self, peer: Option<IpAddr>) {
        self.count += 1;
        let Some(peer) = peer else { return };
        if let Some((_, count)) = self.peers.iter_mut().find(|(known, _)| *known == peer) {
            *count += 1;
        } else if self.peers.len() < MAX_PEERS {
            self.peers.push((peer, 1));
        } else if let Some(rarest) = self.peers.iter_mut().min_by_key(|(_, count)| *count) {
            // The new peer inherits the count of the one that it replaces (the "space-saving" algorithm). So a peer that
            // caused more than a sixteenth of all cases is never lost, in whatever order they come.
            *rarest = (peer, rarest.1 + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(peers: impl IntoIterator<Item = String>) -> (String, u64) {
        let mut unlogged = Unlogged::default();
        for peer in peers {
            unlogged.add(Some(network(peer.parse().unwrap())));
        }
        assert!(unlogged.peers.len() <= MAX_PEERS);
        let (peer, count) = unlogged.peers.into_iter().max_by_key(|(_, count)| *count).unwrap();
        (name(peer), count)
    }

    #[test]
    fn the_worst_peer_is_found_among_many() {
        let others = || (0..=255).map(|last| format!("192.0.2.{last}"));
        let peers = others().flat_map(|other| [other, "203.0.113.7".to_owned()]);
        let (peer, count) = worst(peers);
        assert_eq!(peer, "203.0.113.7");
        assert!((256..=272).contains(&count), "{count}");
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_peer() {
        assert_eq!(worst((0..40).map(|last| format!("2001:db8:0:7::{last}"))), ("2001:db8:0:7::/64".to_owned(), 40));
        let mapped = ["::ffff:192.0.2.1", "192.0.2.1"].map(str::to_owned);
        assert_eq!(worst(mapped), ("192.0.2.1".to_owned(), 2));
    }

    #[test]
    fn every_kind_has_its_own_place_and_label() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
            assert!(Kind::ALL[..at].iter().all(|other| other.label() != kind.label()));
        }
    }
}
