//! `boxoffice.v1.Events`

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, stream};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::{Extensions, Request, Response, Status};

use super::{
    convert,
    ready::Ready,
    services::{Service, Watching},
    status,
};
use crate::{
    app::{Cursor, Delivery, EventStream},
    pb::boxoffice::v1::{self as pb, events_server::Events, subscribe_events_response::Message},
};

#[tonic::async_trait]
impl Events for Service {
    type SubscribeEventsStream = Pin<Box<dyn Stream<Item = Result<Ready, Status>> + Send>>;

    async fn subscribe_events(
        &self,
        request: Request<pb::SubscribeEventsRequest>,
    ) -> Result<Response<Self::SubscribeEventsStream>, Status> {
        let Watching { heartbeat, shutdown } = self.watching.clone();
        let (events, context) = self
            .call(request, convert::subscribe_events, |app, origin, (start, filter)| async move {
                app.subscribe_events(&origin, start, filter, heartbeat).await
            })
            .await?;
        Ok(Response::new(Box::pin(messages(events, shutdown, context))))
    }

    async fn get_event_feed(
        &self,
        request: Request<pb::GetEventFeedRequest>,
    ) -> Result<Response<pb::GetEventFeedResponse>, Status> {
        self.read(
            request,
            |_| Ok(()),
            |app, origin, ()| async move { app.event_feed(&origin).await },
            convert::event_feed,
        )
        .await
    }
}

/// The messages to a subscriber, until it leaves, the server shuts down, or the database cannot be used.
fn messages(
    events: EventStream,
    shutdown: CancellationToken,
    context: Extensions,
) -> impl Stream<Item = Result<Ready, Status>> + Send {
    let context = Arc::new(context);
    // It is moved with every message, so it is small.
    stream::unfold(Some(Box::new(events)), move |events| {
        let (shutdown, context) = (shutdown.clone(), Arc::clone(&context));
        async move {
            let mut events = events?;
            let delivery = tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    let draining = pb::FeedDraining { resume_token: events.resume_token() };
                    return Some((Ok(encode(Message::Draining(draining)).into()), None));
                }
                delivery = events.next() => delivery,
            };
            match delivery {
                Ok(delivery) => Some((Ok(message(&events, &delivery).into()), Some(events))),
                Err(error) => Some((Err(status::of(&error, &context)), None)),
            }
        }
    })
}

fn message(events: &EventStream, delivery: &Delivery) -> Bytes {
    match delivery {
        Delivery::Event { row, index } => row.entries.get(*index).map_or_else(Bytes::new, |entry| {
            // The token is of the place in the feed, and so the same for all subscribers.
            let token = || events.token(Cursor::past(row, *index));
            entry.encoded(|| convert::feed_event(entry, token()))
        }),
        Delivery::Heartbeat(cursor) => {
            encode(Message::Heartbeat(pb::FeedHeartbeat { resume_token: events.token(*cursor) }))
        }
        // The stream ends with an error then.
        Delivery::Compacted | Delivery::Unknown => Bytes::new(),
    }
}

fn encode(message: Message) -> Bytes {
    pb::SubscribeEventsResponse { message: Some(message) }.encode_to_vec().into()
}
