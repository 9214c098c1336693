//! Random commands about payments that are under way.

use std::time::Duration;

use boxoffice::domain::{
    ids::{PurchaseId, ReservationId},
    reservation::{CustomerId, Tender},
    seating::Command,
};
use proptest::{
    prelude::{BoxedStrategy, Just, Strategy},
    prop_oneof,
    sample::select,
};
use uuid::Uuid;

/// Begins, stops and confirms payments of two purchases.
pub(super) fn payments(
    which: impl Strategy<Value = ReservationId> + 'static,
    customer: impl Strategy<Value = Option<CustomerId>> + 'static,
    tender: impl Strategy<Value = Option<Tender>> + 'static,
) -> BoxedStrategy<Command> {
    let purchase = prop_oneof![5 => Just(1), 1 => Just(2)].prop_map(|number| PurchaseId(Uuid::from_u128(number)));
    let spans = select(vec![0, 1, 30, 120, 7_200]).prop_map(Duration::from_secs);
    let kind = prop_oneof![6 => Just(0), 2 => Just(1), 3 => Just(2)];
    let parts = (which, customer, purchase, spans, tender, kind);
    let payment = parts.prop_map(|(reservation_id, customer_id, purchase_id, span, tender, kind)| match kind {
        0 => Command::Pay { reservation_id, customer_id, purchase_id, span },
        1 => Command::StopPayment { reservation_id, purchase_id },
        _ => {
            let purchase_id = Some(purchase_id);
            Command::Confirm { reservation_id, customer_id, tender, purchase_id, late: false }
        }
    });
    payment.boxed()
}
