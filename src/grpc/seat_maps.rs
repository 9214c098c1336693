//! The two methods of `boxoffice.v1.Showtimes` that show seats.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::{Extensions, Status};

use super::{convert, ready::Ready, status};
use crate::{
    app::{App, Encoding, Ending as _, Error, Frame, Snapshot, Watch, WatchMessage},
    pb::boxoffice::v1::{self as pb, watch_seat_map_response::Event},
};

/// The response for a snapshot. It is encoded once, for the first caller, and shared by the others.
pub(super) fn response(snapshot: &Snapshot, include_seats: bool) -> Ready {
    let encoding = if include_seats { Encoding::Listed } else { Encoding::Compact };
    let encode = |snapshot: &Snapshot| {
        let seat_map = Some(convert::seat_map(snapshot, include_seats));
        pb::GetSeatMapResponse { seat_map }.encode_to_vec().into()
    };
    snapshot.encoded(encoding, encode).into()
}

/// The state of one `WatchSeatMap` stream.
struct WatchStream {
    watch: Watch,
    heartbeat: Duration,
    shutdown: CancellationToken,
    context: Arc<Extensions>,
    next: NextItem,
}

/// What the stream sends next.
enum NextItem {
    /// The next message of the watch.
    Message,
    /// The status with which the stream ends.
    Failure(Box<Error>),
    /// Nothing: the stream has ended.
    Nothing,
}

/// The messages to a watcher, until it leaves, the showtime is cancelled or the server shuts down.
pub(super) fn stream(
    watch: Watch,
    heartbeat: Duration,
    shutdown: CancellationToken,
    context: Extensions,
) -> impl Stream<Item = Result<Ready, Status>> + Send {
    let state = WatchStream { watch, heartbeat, shutdown, context: Arc::new(context), next: NextItem::Message };
    stream::unfold(state, |mut state| async move {
        match std::mem::replace(&mut state.next, NextItem::Nothing) {
            NextItem::Nothing => None,
            NextItem::Failure(error) => Some((Err(status::of(&error, &state.context)), state)),
            NextItem::Message => {
                let item = match state.next_message().await {
                    Ok((message, next)) => {
                        state.next = next;
                        Ok(message.into())
                    }
                    Err(error) => Err(status::of(&error, &state.context)),
                };
                Some((item, state))
            }
        }
    })
}

impl WatchStream {
    /// Waits for the next message, and returns it with what the stream sends after it.
    async fn next_message(&mut self) -> Result<(Bytes, NextItem), Error> {
        let message = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return Ok((self.draining(), NextItem::Nothing)),
            message = self.watch.next(self.heartbeat) => message,
        };
        let after = |end: Option<Error>| end.map_or(NextItem::Message, |end| NextItem::Failure(Box::new(end)));
        Ok(match message {
            WatchMessage::Gone => return Err(App::gone(&self.watch)),
            WatchMessage::Snapshot(snapshot) => {
                (snapshot.encoded(Encoding::Watch, encode_snapshot), after(snapshot.end()))
            }
            WatchMessage::Delta(frame) => (frame.encoded(encode_delta), after(frame.end())),
            WatchMessage::Heartbeat { revision, now, stale_since } => {
                let heartbeat = pb::SeatMapHeartbeat {
                    revision,
                    as_of_time: Some(convert::timestamp(now)),
                    stale_since_time: stale_since.map(convert::timestamp),
                };
                (encode(Event::Heartbeat(heartbeat)), NextItem::Message)
            }
        })
    }

    /// The last message before the server shuts down. It says where the watcher can resume.
    fn draining(&self) -> Bytes {
        let (revision, epoch) = self.watch.position();
        encode(Event::Draining(pb::SeatMapDraining { revision, epoch: epoch.to_string() }))
    }
}

fn encode_snapshot(snapshot: &Snapshot) -> Bytes {
    encode(Event::Snapshot(convert::seat_map(snapshot, false)))
}

fn encode_delta(frame: &Frame) -> Bytes {
    encode(Event::Delta(convert::seat_map_delta(frame)))
}

fn encode(event: Event) -> Bytes {
    pb::WatchSeatMapResponse { event: Some(event) }.encode_to_vec().into()
}
