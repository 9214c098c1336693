//! A server with a payment gateway of its own, and what is true of purchases that have ended.

use boxoffice::pb::{
    boxoffice::v1::{
        PaymentState, Purchase, PurchaseFailureReason, PurchaseState, PurchaseStepState, ReservationState,
    },
    payments::v1::PaymentState as GatewayState,
};

use super::{Gateway, books, steps};
use crate::harness::{Server, Store, world::Storage};

/// A server, its payment gateway, and their data.
pub(crate) struct Shop {
    pub(crate) server: Server,
    pub(crate) gateway: Gateway,
    pub(crate) storage: Storage,
}

impl Shop {
    /// Opens one, with a short deadline for calls of the gateway.
    pub(crate) async fn open(store: Store) -> Self {
        Self::with(store, &[]).await
    }

    pub(crate) async fn with(store: Store, options: &[(&str, &str)]) -> Self {
        let storage = Storage::new(store).await;
        let gateway = Gateway::start(storage.folder()).await;
        let setup = storage.setup().with("--payment-gateway-url", gateway.url());
        let setup = setup.with("--payment-gateway-timeout", "500ms");
        let setup = options.iter().fold(setup, |setup, (flag, value)| setup.with(flag, *value));
        Self { server: setup.start().await, gateway, storage }
    }

    /// The states of all payments at the gateway.
    pub(crate) async fn charged(&self) -> Vec<GatewayState> {
        self.gateway.states().await
    }

    pub(crate) async fn assert_books(&self, expected: &[(&str, i64)]) {
        let connection = self.storage.connect().await;
        let expected: Vec<_> = expected.iter().map(|(account, minor)| ((*account).to_owned(), *minor)).collect();
        assert_eq!(books(&connection).await, expected);
    }
}

pub(crate) const DONE: (PurchaseStepState, Option<PurchaseStepState>) = (PurchaseStepState::Done, None);
pub(crate) const UNDONE: (PurchaseStepState, Option<PurchaseStepState>) =
    (PurchaseStepState::Done, Some(PurchaseStepState::Done));
pub(crate) const PENDING: (PurchaseStepState, Option<PurchaseStepState>) = (PurchaseStepState::Pending, None);
pub(crate) const FAILED: (PurchaseStepState, Option<PurchaseStepState>) = (PurchaseStepState::Failed, None);

/// Asserts that the seats are sold for the money.
pub(crate) fn assert_completed(bought: &Purchase) {
    assert_eq!((bought.state(), steps(bought)), (PurchaseState::Completed, vec![DONE; 4]), "{bought:#?}");
    let reservation = bought.reservation.as_ref().expect("it has its reservation");
    assert_eq!(reservation.state(), ReservationState::Confirmed);
    assert_eq!(reservation.purchase_id, bought.purchase_id);
    let payment = bought.payments.last().expect("it has a payment");
    assert_eq!((payment.state(), &payment.amount), (PaymentState::Completed, &bought.total));
    assert_eq!((&bought.failure, &bought.pay_until, bought.redirect_uri.as_str()), (&None, &None, ""));
    assert!(bought.complete_time.is_some() && bought.number.len() == 10, "{bought:?}");
}

/// Asserts that nothing is sold and nothing was taken.
pub(crate) fn assert_compensated(bought: &Purchase, reason: PurchaseFailureReason) {
    assert_eq!(bought.state(), PurchaseState::Compensated, "{bought:#?}");
    let failure = bought.failure.as_ref().expect("it says why");
    assert_eq!((failure.reason(), failure.retryable), (reason, false));
    let reservation = bought.reservation.as_ref().expect("it has its reservation");
    assert_eq!(reservation.state(), ReservationState::Cancelled);
    for payment in &bought.payments {
        assert!(matches!(payment.state(), PaymentState::Declined | PaymentState::Voided), "{payment:?}");
    }
}
