//! Delivery to a Redis stream, which takes events as one sequence and keeps a prefix of what is sent.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    delivery::{Delivery, messages},
    each::SENDING,
    message::Message,
    redis_stream::Connection,
    relay::Relay,
    trouble::Trouble,
};
use crate::{feed::Row, telemetry::metrics};

/// The most events that are written in one call. The server does nothing else meanwhile.
const AT_ONCE: usize = 500;

impl Relay {
    /// Delivers rows to a Redis stream.
    pub(super) async fn send_in_sequence(
        &self,
        connection: &mut Connection,
        delivery: &mut Delivery,
        rows: &[Arc<Row>],
    ) -> Result<(), Trouble> {
        let (begin, messages) = (Instant::now(), messages(rows, None));
        let mut rest = messages.as_slice();
        while !rest.is_empty() && begin.elapsed() < SENDING {
            let (next, after) = rest.split_at(AT_ONCE.min(rest.len()));
            let written = connection.write(next, delivery.shift).await?;
            metrics::sink(|sink| sink.published(&self.address.name, written));
            rest = after;
        }
        // Positions have no gaps. What is written of the row that comes next is not written again.
        let last = rows.last().map_or(delivery.position, |row| row.position);
        delivery.advance(rest.first().map_or(last, |message| message.position - 1));
        Ok(())
    }

    /// Finds where to go on, from the end of the stream.
    ///
    /// - If the server has lost what it had confirmed, delivery goes back, as far as the events are kept.
    /// - If the last entry is an event of this feed at its position, ids go on as they were.
    /// - Otherwise the stream has another history of the database, or of another one. Ids that are lower than its last cannot be
    ///   written, so what is added to positions grows.
    pub(super) async fn align(&self, connection: &mut Connection, delivery: &mut Delivery) -> Result<(), Trouble> {
        let before = (delivery.position, delivery.shift);
        self.compare(connection, delivery).await?;
        // Written at once: what comes next would otherwise be compared with the shift of before after a crash.
        let is_changed = (delivery.position, delivery.shift) != before;
        if is_changed && !self.write(delivery, false).await.map_err(|error| Trouble::database(&error))? {
            return Err(Trouble::Broker("another instance delivers events now".to_owned()));
        }
        Ok(())
    }

    async fn compare(&self, connection: &mut Connection, delivery: &mut Delivery) -> Result<(), Trouble> {
        let oldest = self.store.feed_head().await.map_err(|error| Trouble::database(&error))?.compacted;
        let Some(end) = connection.end().await? else {
            delivery.position = oldest.min(delivery.position);
            return Ok(());
        };
        let (top, index) = end.top;
        let in_feed = top - delivery.shift;
        let row = self.feed.row(in_feed).await.map_err(|error| Trouble::database(&error))?;
        let event = row.as_ref().and_then(|row| Message::of(row, None).nth(index));
        // A consumer may delete what it has read.
        let is_of_feed = end.is(event, in_feed <= delivery.position);
        if in_feed <= delivery.position {
            // The events of the last row may not all be there.
            delivery.position = if is_of_feed { in_feed - 1 } else { oldest.min(delivery.position) };
        }
        if !is_of_feed && top > delivery.position + delivery.shift {
            tracing::warn!(
                sink = self.address.name,
                "the end of the stream is not of this database as it is; ids go on after it"
            );
            delivery.shift = top - delivery.position;
        }
        Ok(())
    }
}
