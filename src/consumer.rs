//! A consumer of the feed of events, for our own subcommands. It uses what anybody can use: `Events.SubscribeEvents`.
//!
//! [`Consumer::next`] waits for what comes next. Everything that interrupts a stream and passes (a restart of the service, a
//! broken connection, silence) is handled here: the consumer connects again, with pauses that grow, and goes on after the last
//! token that it has returned. What does not pass is returned as [`Ended`].
//!
//! Deliberately absent: where the token is kept. The caller writes it together with the effect of the events.

mod connection;
mod ended;
mod options;
mod stream;

pub use ended::Ended;
pub use options::{Options, SetupError, Start};
pub use stream::{Consumer, Delivery, Ends};
