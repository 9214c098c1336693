//! The two methods of `boxoffice.v1.Showtimes` that show seats.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::{Extensions, Status};

use super::{convert, ready::Ready, status};
use crate::{
    app::{App, Encoding, Ended as _, Error, Frame, Snapshot, Watch, WatchMessage},
    pb::boxoffice::v1::{self as pb, watch_seat_map_response::Event},
};

/// A seat map's answer, put into bytes by whoever asks first.
pub(super) fn answer(snapshot: &Snapshot, include_seats: bool) -> Ready {
    let form = if include_seats { Encoding::Listed } else { Encoding::Compact };
    let say = |snapshot: &Snapshot| {
        let seat_map = Some(convert::seat_map(snapshot, include_seats));
        pb::GetSeatMapResponse { seat_map }.encode_to_vec().into()
    };
    snapshot.encoded(form, say).into()
}

/// Where a stream of words is.
struct Telling {
    watch: Watch,
    heartbeat: Duration,
    ending: CancellationToken,
    context: Arc<Extensions>,
    last: Last,
}

/// What was said last.
enum Last {
    /// There is more.
    Word,
    /// This is still to be said.
    Refusal(Box<Error>),
    Goodbye,
}

/// What a watcher is told until it leaves, the showtime is cancelled or the server ends.
pub(super) fn stream(
    watch: Watch,
    heartbeat: Duration,
    ending: CancellationToken,
    context: Extensions,
) -> impl Stream<Item = Result<Ready, Status>> + Send {
    let telling = Telling { watch, heartbeat, ending, context: Arc::new(context), last: Last::Word };
    stream::unfold(telling, |mut telling| async move {
        match std::mem::replace(&mut telling.last, Last::Goodbye) {
            Last::Goodbye => None,
            Last::Refusal(error) => Some((Err(status::of(&error, &telling.context)), telling)),
            Last::Word => {
                let said = match telling.word().await {
                    Ok((word, last)) => {
                        telling.last = last;
                        Ok(word.into())
                    }
                    Err(error) => Err(status::of(&error, &telling.context)),
                };
                Some((said, telling))
            }
        }
    })
}

impl Telling {
    /// The next word, and what comes after it; or why there is none.
    async fn word(&mut self) -> Result<(Bytes, Last), Error> {
        let said = tokio::select! {
            biased;
            () = self.ending.cancelled() => return Ok((self.goodbye(), Last::Goodbye)),
            said = self.watch.next(self.heartbeat) => said,
        };
        let refusal = |end: Option<Error>| end.map_or(Last::Word, |end| Last::Refusal(Box::new(end)));
        Ok(match said {
            WatchMessage::Gone => return Err(App::gone(&self.watch)),
            WatchMessage::Snapshot(snapshot) => {
                (snapshot.encoded(Encoding::Watch, everything), refusal(snapshot.ended()))
            }
            WatchMessage::Delta(frame) => (frame.encoded(changed), refusal(frame.ended())),
            WatchMessage::Heartbeat { revision, now, stale_since } => {
                let heartbeat = pb::SeatMapHeartbeat {
                    revision,
                    as_of_time: Some(convert::timestamp(now)),
                    stale_since_time: stale_since.map(convert::timestamp),
                };
                (event(Event::Heartbeat(heartbeat)), Last::Word)
            }
        })
    }

    fn goodbye(&self) -> Bytes {
        let (revision, epoch) = self.watch.position();
        event(Event::Draining(pb::SeatMapDraining { revision, epoch: epoch.to_string() }))
    }
}

fn everything(snapshot: &Snapshot) -> Bytes {
    event(Event::Snapshot(convert::seat_map(snapshot, false)))
}

fn changed(frame: &Frame) -> Bytes {
    event(Event::Delta(convert::seat_map_delta(frame)))
}

fn event(event: Event) -> Bytes {
    pb::WatchSeatMapResponse { event: Some(event) }.encode_to_vec().into()
}
