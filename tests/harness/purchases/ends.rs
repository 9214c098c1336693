//! What is true of purchases that have ended.

use boxoffice::pb::boxoffice::v1::{
    PaymentState, Purchase, PurchaseFailureReason, PurchaseState, PurchaseStepState, ReservationState,
};

use super::steps;

pub(crate) const DONE: (PurchaseStepState, Option<PurchaseStepState>) = (PurchaseStepState::Done, None);
pub(crate) const UNDONE: (PurchaseStepState, Option<PurchaseStepState>) =
    (PurchaseStepState::Done, Some(PurchaseStepState::Done));
pub(crate) const PENDING: (PurchaseStepState, Option<PurchaseStepState>) = (PurchaseStepState::Pending, None);
pub(crate) const FAILED: (PurchaseStepState, Option<PurchaseStepState>) = (PurchaseStepState::Failed, None);

/// Asserts that the seats are sold for the money.
pub(crate) fn assert_completed(bought: &Purchase) {
    assert_eq!((bought.state(), steps(bought)), (PurchaseState::Completed, vec![DONE; 5]), "{bought:#?}");
    let reservation = bought.reservation.as_ref().expect("it has its reservation");
    assert_eq!(reservation.state(), ReservationState::Confirmed);
    assert_eq!(reservation.purchase_id, bought.purchase_id);
    let payment = bought.payments.last().expect("it has a payment");
    assert_eq!((payment.state(), &payment.amount), (PaymentState::Completed, &bought.total));
    assert_eq!((&bought.failure, &bought.pay_until, bought.redirect_uri.as_str()), (&None, &None, ""));
    assert!(bought.complete_time.is_some(), "{bought:?}");
    assert!(bought.number.starts_with("PUR-") && bought.number.len() == 15, "{bought:?}");
}

/// Asserts that nothing is sold and nothing was taken.
pub(crate) fn assert_compensated(bought: &Purchase, reason: PurchaseFailureReason) {
    assert_eq!(bought.state(), PurchaseState::Compensated, "{bought:#?}");
    let failure = bought.failure.as_ref().expect("it says why");
    assert_eq!((failure.reason(), failure.retryable), (reason, false));
    let reservation = bought.reservation.as_ref().expect("it has its reservation");
    assert_eq!(reservation.state(), ReservationState::Cancelled);
    for payment in &bought.payments {
        // Whether the gateway has refused it or it was given up here.
        let refused = [PurchaseFailureReason::CaptureFailed, PurchaseFailureReason::PaymentRefused].contains(&reason);
        let undone = if refused { PaymentState::Failed } else { PaymentState::Voided };
        assert!([PaymentState::Declined, undone].contains(&payment.state()), "{payment:?}");
    }
}
