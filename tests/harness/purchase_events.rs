//! The events of purchases and refunds, and whether they agree with what the service answers.

use boxoffice::pb::boxoffice::v1::{
    FeedEvent, GetEventFeedRequest, Purchase, PurchaseState, Refund, RefundState, SubscribeEventsRequest,
    events_client::EventsClient, subscribe_events_request::Start,
};
use tonic::transport::Channel;

use super::events::{assert_complete, next_event};

/// Every event that is committed when this is called.
pub(crate) async fn every_event(mut client: EventsClient<Channel>) -> Vec<FeedEvent> {
    // After this, everything that was committed has its position.
    let now = SubscribeEventsRequest { start: Some(Start::FromNow(true)), ..Default::default() };
    client.subscribe_events(now).await.expect("the feed is read");
    let feed = client.get_event_feed(GetEventFeedRequest {}).await.expect("the feed is read").into_inner();
    let events = client.subscribe_events(SubscribeEventsRequest::default()).await;
    let mut events = events.expect("the feed is read").into_inner();
    let mut read: Vec<FeedEvent> = Vec::new();
    while read.last().is_none_or(|last| last.resume_token != feed.newest_token) {
        read.push(next_event(&mut events).await);
    }
    read
}

/// The events of an aggregate.
pub(crate) fn of_aggregate<'a>(events: &'a [FeedEvent], id: &str) -> Vec<&'a FeedEvent> {
    events.iter().filter(|event| event.data.as_ref().is_some_and(|data| data.aggregate_id == id)).collect()
}

/// The names of the events of an aggregate.
pub(crate) fn kinds<'a>(events: &'a [FeedEvent], id: &str) -> Vec<&'a str> {
    of_aggregate(events, id).into_iter().map(|event| event.r#type.trim_start_matches("boxoffice.v1.")).collect()
}

/// Asserts that the revisions of each aggregate have no gap, and that the events of these purchases, which are not running, and
/// of their refunds tell what became of them.
pub(crate) fn assert_agree(events: &[FeedEvent], purchases: &[Purchase]) {
    assert_complete(events);
    for purchase in purchases {
        let kinds = kinds(events, &purchase.purchase_id);
        let count = |kind: &str| kinds.iter().filter(|one| **one == kind).count();
        let last = match purchase.state() {
            PurchaseState::Completed => "PurchaseCompleted",
            PurchaseState::Compensated => "PurchaseCompensated",
            PurchaseState::Stuck => "PurchaseStuck",
            state => panic!("it is {state:?}: {purchase:#?}"),
        };
        assert_eq!((kinds.first(), kinds.last()), (Some(&"PurchaseStarted"), Some(&last)), "{purchase:#?}");
        let ends = count("PurchaseCompleted") + count("PurchaseCompensated");
        assert_eq!((count("PurchaseStarted"), ends), (1, usize::from(last != "PurchaseStuck")), "{kinds:?}");
        assert_eq!(count("PaymentCompleted"), count("PurchaseCompleted"), "{kinds:?}");
        let declined = purchase.payments.iter().filter(|payment| !payment.decline_code.is_empty()).count();
        assert_eq!(count("PaymentDeclined"), declined, "{kinds:?}");
        for refund in purchase.payments.iter().flat_map(|payment| &payment.refunds) {
            assert_refund_agrees(events, refund);
        }
    }
}

fn assert_refund_agrees(events: &[FeedEvent], refund: &Refund) {
    let ended = match refund.state() {
        RefundState::Pending => None,
        RefundState::Done => Some("PaymentRefunded"),
        RefundState::Failed => Some("PaymentRefundFailed"),
        RefundState::Stuck => Some("PaymentRefundStuck"),
        RefundState::Unspecified => panic!("it has no state: {refund:?}"),
    };
    // An operator settles what was stuck.
    let stuck = (refund.message == "settled by an operator").then_some("PaymentRefundStuck");
    let expected: Vec<_> = ["PaymentRefundStarted"].into_iter().chain(stuck).chain(ended).collect();
    assert_eq!(kinds(events, &refund.refund_id), expected, "{refund:?}");
}
