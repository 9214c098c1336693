//! Money that the gateway has taken although the purchase fails: its customer gets it back, and the books have both.

use std::time::Duration;

use boxoffice::pb::{
    boxoffice::v1::{
        Payment, Purchase, PurchaseFailure, PurchaseFailureReason, PurchaseState, PurchaseStepName, PurchaseStepState,
        RefundOutcome, RefundState, ResumePurchaseRequest, SettleRefundRequest,
    },
    payments::v1::PaymentState as GatewayState,
};

use crate::{
    harness::{
        eventually,
        money::{minor, taken},
        purchases::{
            books, buy, latency, no_faults, of_seats, purchase, step, until_ended, until_refunded, until_state,
        },
        seats::{reserve, showtime, these},
        shop::WrongShop,
        wrong_gateway::Wrong,
    },
    purchase_edges::{cancel_showtime, until_paying},
    refunds::{all, refund},
};

in_both_shops!(WrongShop:
    a_gateway_that_takes_the_money_at_once_is_paid_once,
    money_for_seats_that_were_never_sold_is_given_back,
    money_for_seats_that_were_sold_is_given_back,
    money_that_was_kept_at_first_is_given_back_later,
    an_answer_with_another_amount_is_left_to_an_operator,
    a_refund_that_was_done_and_is_answered_as_refused_is_done,
);

/// Asserts that what the gateway has taken was given back by one refund, and that the books have both.
async fn assert_given_back(shop: WrongShop, ended: &Purchase) {
    assert_eq!(ended.state(), PurchaseState::Compensated, "{ended:#?}");
    let now = until_refunded(&shop.server, ended).await;
    let capture = step(&now, PurchaseStepName::Capture);
    let undone = capture.compensation.as_ref().map(|undoes| undoes.state());
    assert_eq!(undone, Some(PurchaseStepState::Done), "{capture:?}");
    let Payment { refunds, .. } = &now.payments[0];
    assert_eq!(refunds.len(), 1, "{refunds:?}");
    assert_eq!((refunds[0].state(), &refunds[0].amount), (RefundState::Done, &now.total));
    let charged = shop.gateway.payments().await;
    assert_eq!((charged.len(), charged[0].state(), taken(&charged[0])), (1, GatewayState::Captured, 0));
    let books = books(&shop.storage.connect().await).await;
    assert!(books.len() > 1 && books.iter().all(|(_, minor)| *minor == 0), "{books:?}");
    shop.assert_audited().await;
}

async fn a_gateway_that_takes_the_money_at_once_is_paid_once(shop: WrongShop) {
    let showtime = showtime(&shop.server).await;
    shop.wrong.set(Wrong::CapturesAtOnce);
    let begun = buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_ok")).await.expect("it begins");
    let bought = until_state(&shop.server, &begun, PurchaseState::Completed).await;
    let charged = shop.gateway.payments().await;
    assert_eq!((charged.len(), taken(&charged[0])), (1, minor(bought.total.as_ref())));
    shop.assert_audited().await;
}

/// The showtime is cancelled while the gateway authorises and takes the money in one.
async fn money_for_seats_that_were_never_sold_is_given_back(shop: WrongShop) {
    let showtime = showtime(&shop.server).await;
    shop.wrong.set(Wrong::CapturesAtOnce);
    shop.gateway.set_faults(latency(Duration::from_millis(800))).await;
    let cancels = async {
        until_paying(&shop.server, 1).await;
        cancel_showtime(&shop.server, &showtime).await;
    };
    let (begun, ()) = tokio::join!(buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_ok")), cancels);
    shop.gateway.set_faults(no_faults()).await;
    let ended = until_ended(&shop.server, &begun.expect("it begins")).await;
    assert_eq!(ended.failure.as_ref().map(PurchaseFailure::reason), Some(PurchaseFailureReason::NotSold));
    assert_given_back(shop, &ended).await;
}

/// The gateway says that it has taken nothing, and refuses to void the payment. Then it says that it has taken the money.
async fn money_for_seats_that_were_sold_is_given_back(shop: WrongShop) {
    let showtime = showtime(&shop.server).await;
    shop.wrong.set(Wrong::DeniesCapture);
    let begun = buy(&shop.server, of_seats(&showtime, "ada", "A1 A2", "tok_ok")).await.expect("it begins");
    let stuck = until_state(&shop.server, &begun, PurchaseState::Stuck).await;
    reserve(&shop.server, these(&showtime, "bob", "A1")).await.expect_err("the money may be taken");
    shop.wrong.set(Wrong::Nothing);
    let note = "their console shows a capture".to_owned();
    let resume = ResumePurchaseRequest { purchase_id: stuck.purchase_id.clone(), note };
    shop.server.operations().resume_purchase(resume).await.expect("it is stuck");
    let ended = until_state(&shop.server, &stuck, PurchaseState::Compensated).await;
    assert_eq!(ended.failure.as_ref().map(PurchaseFailure::reason), Some(PurchaseFailureReason::CaptureFailed));
    reserve(&shop.server, these(&showtime, "bob", "A1 A2")).await.expect("the seats are free again");
    assert_given_back(shop, &ended).await;
}

/// The refund of money for which nothing was sold is refused, the operator keeps the money, and staff give it back after all.
async fn money_that_was_kept_at_first_is_given_back_later(shop: WrongShop) {
    let showtime = showtime(&shop.server).await;
    shop.wrong.set(Wrong::CapturesAtOnce);
    shop.gateway.set_faults(latency(Duration::from_millis(800))).await;
    let cancels = async {
        until_paying(&shop.server, 1).await;
        cancel_showtime(&shop.server, &showtime).await;
    };
    let buys = buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_refund_fails"));
    let (begun, ()) = tokio::join!(buys, cancels);
    shop.gateway.set_faults(no_faults()).await;
    let ended = until_ended(&shop.server, &begun.expect("it begins")).await;
    let stuck = eventually("the refund is stuck", async || {
        let refunds = purchase(&shop.server, &ended).await.payments.remove(0).refunds;
        refunds.into_iter().find(|refund| refund.state() == RefundState::Stuck)
    })
    .await;
    let settle = SettleRefundRequest {
        refund_id: stuck.refund_id,
        outcome: RefundOutcome::Failed.into(),
        note: "we keep it".to_owned(),
        till: String::new(),
    };
    shop.server.operations().settle_refund(settle).await.expect("it is stuck");
    shop.wrong.set(Wrong::Nothing);
    let again = refund(&shop.server, all(&ended)).await.expect("money is left").1;
    assert!(again.seats.is_empty(), "{again:?}");
    let stuck = eventually("the second one is stuck", async || {
        let refunds = purchase(&shop.server, &ended).await.payments.remove(0).refunds;
        refunds.into_iter().find(|refund| refund.state() == RefundState::Stuck)
    })
    .await;
    let settle = SettleRefundRequest {
        refund_id: stuck.refund_id,
        outcome: RefundOutcome::PaidOut.into(),
        note: "in cash".to_owned(),
        till: "till 7".to_owned(),
    };
    shop.server.operations().settle_refund(settle).await.expect("it is stuck");
    until_refunded(&shop.server, &ended).await;
    shop.assert_audited().await;
}

/// The gateway gives the money back and answers that it does not.
async fn a_refund_that_was_done_and_is_answered_as_refused_is_done(shop: WrongShop) {
    let showtime = showtime(&shop.server).await;
    let bought = buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_ok")).await.expect("it begins");
    let bought = until_state(&shop.server, &bought, PurchaseState::Completed).await;
    shop.wrong.set(Wrong::DeniesRefund);
    refund(&shop.server, all(&bought)).await.expect("it was paid");
    assert_eq!(until_refunded(&shop.server, &bought).await.payments[0].refunds.len(), 1);
    shop.assert_audited().await;
}

/// The customer is asked, and the payment is read afterwards: nothing is sold for another amount than was asked for.
async fn an_answer_with_another_amount_is_left_to_an_operator(shop: WrongShop) {
    let showtime = showtime(&shop.server).await;
    for (seat, token, wrong, at) in [
        ("A1", "tok_action_required", Wrong::ReadAmount, PurchaseStepName::Pay),
        ("A3", "tok_ok", Wrong::CapturedTotal, PurchaseStepName::Capture),
    ] {
        shop.wrong.set(wrong);
        let begun = buy(&shop.server, of_seats(&showtime, "ada", seat, token)).await.expect("it begins");
        if token == "tok_action_required" {
            shop.gateway.complete_action(&begun.payments[0].payment_id, true).await;
        }
        let stuck = until_state(&shop.server, &begun, PurchaseState::Stuck).await;
        assert!(step(&stuck, at).message.contains("differs"), "{stuck:#?}");
        reserve(&shop.server, these(&showtime, "bob", seat)).await.expect_err("an operator decides");
        shop.wrong.set(Wrong::Nothing);
        let note = "they have repaired it".to_owned();
        let resume = ResumePurchaseRequest { purchase_id: stuck.purchase_id.clone(), note };
        shop.server.operations().resume_purchase(resume).await.expect("it is stuck");
        until_state(&shop.server, &stuck, PurchaseState::Completed).await;
        assert_eq!(purchase(&shop.server, &stuck).await.payments[0].amount, stuck.total);
    }
    shop.assert_audited().await;
}
