//! Refunds that are stuck: operators list them, let them go on, and say how they end.

use boxoffice::pb::boxoffice::v1::{
    GetCashUpRequest, GetPaymentRequest, ListStuckRefundsRequest, Payment, PaymentState, Purchase, PurchaseState,
    Refund, RefundNoteAction, RefundOutcome, RefundState, ReservationState, ResumeRefundRequest, SettleRefundRequest,
    StuckRefund, payments_client::PaymentsClient,
};
use tonic::{Code, Status};

use crate::{
    harness::{
        assert_not_found, assert_refused, assert_violates, eventually,
        money::minor,
        purchase_events::{every_event, kinds},
        purchases::{books, buy, of_seats, until_state},
        request_id,
        requests::euros,
        seats::{confirm, get, names, reserve, showtime, these},
        server::binary,
        shop::{WrongShop, audit},
        staff::release,
        wrong_gateway::Wrong,
    },
    refunds::{all, of_these, refund, until_ended},
};

impl WrongShop {
    /// A sale of these seats.
    async fn sold(&self, seats: &str, token: &str) -> Purchase {
        let showtime = showtime(&self.server).await;
        let bought = buy(&self.server, of_seats(&showtime, "ada", seats, token)).await.expect("the seats are free");
        until_state(&self.server, &bought, PurchaseState::Completed).await
    }

    /// A sale of two seats of which the first one was given up, and whose refund the gateway refuses.
    async fn refused(&self) -> (Purchase, Refund) {
        let sold = self.sold("A1 A2", "tok_refund_fails").await;
        release(&self.server, reservation(&sold), "A1").await.expect("it is sold");
        let stuck = until_ended(&self.server, &sold, 1).await.refunds.remove(0);
        (sold, stuck)
    }

    /// A sale of two seats, and a refund of the first one that got an answer with another amount.
    async fn differs(&self) -> (Purchase, Refund) {
        let sold = self.sold("A1 A2", "tok_ok").await;
        self.wrong.set(Wrong::RefundedAmount);
        refund(&self.server, of_these(&sold, "A1")).await.expect("it was paid");
        let stuck = until_ended(&self.server, &sold, 1).await.refunds.remove(0);
        assert_eq!(stuck.state(), RefundState::Stuck, "{stuck:#?}");
        (sold, stuck)
    }

    async fn stuck_refunds(&self) -> Vec<StuckRefund> {
        let request = ListStuckRefundsRequest::default();
        self.server.operations().list_stuck_refunds(request).await.expect("a list").into_inner().refunds
    }

    async fn resume_refund(&self, of: &Refund, note: &str) -> Result<Refund, Status> {
        let request = ResumeRefundRequest { refund_id: of.refund_id.clone(), note: note.to_owned() };
        let answer = self.server.operations().resume_refund(request).await?;
        Ok(answer.into_inner().refund.expect("the answer has the refund"))
    }

    async fn settle_refund(&self, of: &Refund, outcome: RefundOutcome, till: &str) -> Result<Refund, Status> {
        let request = SettleRefundRequest {
            refund_id: of.refund_id.clone(),
            outcome: outcome.into(),
            note: "seen in the gateway's console".to_owned(),
            till: till.to_owned(),
        };
        let answer = self.server.operations().settle_refund(request).await?;
        Ok(answer.into_inner().refund.expect("the answer has the refund"))
    }

    /// Asserts that each account has this, and that the audit finds nothing wrong. It reads SQLite after the service.
    async fn assert_audit(self, expected: &[(&str, i64)]) {
        let found = books(&self.storage.connect().await).await;
        let found: Vec<_> = found.iter().map(|(account, minor)| (account.as_str(), *minor)).collect();
        assert_eq!(found, expected);
        self.server.stop().await;
        let (code, printed) = audit(&self.storage, &self.gateway).await;
        assert_eq!(code, Some(0), "{printed}");
    }
}

in_both_shops!(WrongShop:
    what_the_gateway_refuses_to_give_back_for_seats_that_were_given_up_is_stuck,
    what_is_stuck_is_settled_as_paid_out_at_a_till,
    what_is_stuck_is_settled_as_kept,
    a_refund_that_is_stuck_goes_on_when_it_is_resumed,
    a_refund_that_is_settled_as_done_gives_its_seats_up,
    a_refund_that_is_settled_as_failed_leaves_its_seats_sold,
    of_many_operators_one_settles_a_refund,
    flaws_are_named_and_change_nothing,
    operators_use_the_command_for_refunds,
);

fn reservation(purchase: &Purchase) -> &boxoffice::pb::boxoffice::v1::Reservation {
    purchase.reservation.as_ref().expect("a purchase has its reservation")
}

/// What each of the two seats of a sale costs.
fn each(sold: &Purchase) -> i64 {
    minor(sold.total.as_ref()) / 2
}

/// The date where the cinema is, as a sale at another till of today has it.
async fn today(shop: &WrongShop, sold: &Purchase) -> String {
    let mut showtime = showtime(&shop.server).await;
    showtime.showtime_id.clone_from(&reservation(sold).showtime_id);
    let held = reserve(&shop.server, these(&showtime, "cid", "C1")).await.expect("the seat is free");
    let payment_id = confirm(&shop.server, &held).await.expect("the seat is held").purchase_id;
    let request = GetPaymentRequest { payment_id, customer_id: String::new() };
    let found = PaymentsClient::new(shop.server.channel()).get_payment(request).await.expect("a sale has its payment");
    found.into_inner().payment.and_then(|payment| payment.till).expect("a till has taken it").local_date
}

/// The state of a payment, and what was given back of it.
fn given_back(payment: &Payment) -> (PaymentState, i64) {
    (payment.state(), minor(payment.refunded_amount.as_ref()))
}

async fn what_the_gateway_refuses_to_give_back_for_seats_that_were_given_up_is_stuck(shop: WrongShop) {
    assert!(shop.stuck_refunds().await.is_empty());
    let (sold, stuck) = shop.refused().await;
    assert_eq!((stuck.state(), stuck.end_time), (RefundState::Stuck, None), "{stuck:#?}");
    assert_eq!(stuck.message, "refund_refused; seats were given up before");
    let mut showtime = showtime(&shop.server).await;
    showtime.showtime_id.clone_from(&reservation(&sold).showtime_id);
    reserve(&shop.server, these(&showtime, "bob", "A1")).await.expect("the seat is free");
    let listed = shop.stuck_refunds().await;
    assert_eq!(listed.len(), 1, "{listed:#?}");
    let payment_id = &sold.payments[0].payment_id;
    assert_eq!((listed[0].refund.as_ref(), &listed[0].payment_id), (Some(&stuck), payment_id));
    assert_eq!((&listed[0].purchase_id, listed[0].seats_given_up), (&sold.purchase_id, true));
    eventually("it is counted", async || {
        shop.server.metrics().await.sum("boxoffice_refund_stuck", &[]).filter(|count| *count > 0.5)
    })
    .await;
    // Its money counts as given back until it is settled.
    let amount = Some(euros(each(&sold) * 2 / 100, 0));
    let status = refund(&shop.server, boxoffice::pb::boxoffice::v1::RefundPaymentRequest { amount, ..all(&sold) });
    assert_refused(&status.await.expect_err("less is left"), Code::FailedPrecondition, "REFUND_EXCEEDS");
    let events = every_event(shop.server.events()).await;
    assert_eq!(kinds(&events, &stuck.refund_id), ["PaymentRefundStarted", "PaymentRefundStuck"]);
    let whole = 2 * each(&sold);
    shop.assert_audit(&[("gateway", whole), ("sales", -whole)]).await;
}

async fn what_is_stuck_is_settled_as_paid_out_at_a_till(shop: WrongShop) {
    let (sold, stuck) = shop.refused().await;
    let settled = shop.settle_refund(&stuck, RefundOutcome::PaidOut, "till 7").await.expect("it is stuck");
    assert_eq!((settled.state(), settled.till.as_str()), (RefundState::Done, "till 7"));
    assert_eq!((settled.message.as_str(), settled.end_time.is_some()), ("settled by an operator", true));
    let payment = until_ended(&shop.server, &sold, 1).await;
    assert_eq!(given_back(&payment), (PaymentState::PartiallyRefunded, each(&sold)));
    assert_eq!(payment.refunds, [settled]);
    let local_date = today(&shop, &sold).await;
    let request = GetCashUpRequest { till: "till 7".to_owned(), local_date };
    let lines = PaymentsClient::new(shop.server.channel()).get_cash_up(request).await.expect("a till").into_inner();
    let paid_out: i64 = lines.lines.iter().map(|line| minor(line.refunds.as_ref())).sum();
    assert_eq!((lines.lines.len(), paid_out, lines.lines[0].sale_count), (1, each(&sold), 0), "{lines:#?}");
    let status = shop.settle_refund(&stuck, RefundOutcome::Failed, "").await.expect_err("it has ended");
    assert_refused(&status, Code::FailedPrecondition, "REFUND_NOT_STUCK");
    assert!(shop.stuck_refunds().await.is_empty());
    let events = every_event(shop.server.events()).await;
    let told = kinds(&events, &stuck.refund_id);
    assert_eq!(told, ["PaymentRefundStarted", "PaymentRefundStuck", "PaymentRefunded"]);
    let one = each(&sold);
    // The till has taken what the seat of today's date costs.
    shop.assert_audit(&[("gateway", 2 * one), ("sales", -2 * one), ("till", 0)]).await;
}

async fn what_is_stuck_is_settled_as_kept(shop: WrongShop) {
    let (sold, stuck) = shop.refused().await;
    let settled = shop.settle_refund(&stuck, RefundOutcome::Failed, "").await.expect("it is stuck");
    assert_eq!(settled.state(), RefundState::Failed);
    let payment = until_ended(&shop.server, &sold, 1).await;
    assert_eq!(given_back(&payment), (PaymentState::Completed, 0));
    let kept = get(&shop.server, reservation(&sold)).await.expect("it is found");
    assert_eq!((names(&kept.seats), kept.state()), ("A2".to_owned(), ReservationState::Confirmed));
    let whole = 2 * each(&sold);
    shop.assert_audit(&[("gateway", whole), ("sales", -whole)]).await;
}

async fn a_refund_that_is_stuck_goes_on_when_it_is_resumed(shop: WrongShop) {
    let (sold, stuck) = shop.differs().await;
    assert!(stuck.message.contains("the amount"), "{stuck:#?}");
    // The gateway is as wrong as before: it is stuck again, and the note is kept.
    let pending = shop.resume_refund(&stuck, "a glitch, they say").await.expect("it is stuck");
    assert_eq!(pending.state(), RefundState::Pending);
    let again = eventually("it is stuck again", async || {
        let listed = shop.stuck_refunds().await.pop()?;
        let attempts = listed.refund.as_ref().map(|refund| refund.attempts);
        (attempts > Some(stuck.attempts)).then_some(listed)
    })
    .await;
    let notes: Vec<_> = again.notes.iter().map(|note| (note.action(), note.note.as_str())).collect();
    assert_eq!(notes, [(RefundNoteAction::Resumed, "a glitch, they say")]);
    assert!(again.notes[0].time.is_some() && !again.seats_given_up, "{again:#?}");
    shop.wrong.set(Wrong::Nothing);
    shop.resume_refund(&stuck, "now it is repaired").await.expect("it is stuck");
    let payment = until_ended(&shop.server, &sold, 1).await;
    assert_eq!(given_back(&payment), (PaymentState::PartiallyRefunded, each(&sold)));
    assert_eq!(names(&get(&shop.server, reservation(&sold)).await.expect("it is found").seats), "A2");
    let events = every_event(shop.server.events()).await;
    let told = kinds(&events, &stuck.refund_id);
    assert_eq!(told, ["PaymentRefundStarted", "PaymentRefundStuck", "PaymentRefundStuck", "PaymentRefunded"]);
    // All attempts were one operation for the gateway.
    assert_eq!(shop.gateway.payments().await[0].operations.len(), 3);
    let one = each(&sold);
    shop.assert_audit(&[("gateway", one), ("sales", -one)]).await;
}

async fn a_refund_that_is_settled_as_done_gives_its_seats_up(shop: WrongShop) {
    let (sold, stuck) = shop.differs().await;
    eventually("the gateway has given the money back", async || {
        let payments = shop.gateway.payments().await;
        (minor(payments[0].refunded_amount.as_ref()) == each(&sold)).then_some(())
    })
    .await;
    let settled = shop.settle_refund(&stuck, RefundOutcome::Done, "").await.expect("it is stuck");
    assert_eq!((settled.state(), settled.till.as_str()), (RefundState::Done, ""));
    let kept = get(&shop.server, reservation(&sold)).await.expect("it is found");
    assert_eq!((names(&kept.seats), kept.state()), ("A2".to_owned(), ReservationState::Confirmed));
    let payment = until_ended(&shop.server, &sold, 1).await;
    assert_eq!(given_back(&payment), (PaymentState::PartiallyRefunded, each(&sold)));
    let one = each(&sold);
    shop.assert_audit(&[("gateway", one), ("sales", -one)]).await;
}

async fn a_refund_that_is_settled_as_failed_leaves_its_seats_sold(shop: WrongShop) {
    // The gateway had given nothing back.
    let sold = shop.sold("A1 A2", "tok_refund_fails").await;
    shop.wrong.set(Wrong::RefundedAmount);
    refund(&shop.server, of_these(&sold, "A1")).await.expect("it was paid");
    let stuck = until_ended(&shop.server, &sold, 1).await.refunds.remove(0);
    // An instance of the release before does not count the event that it has written.
    let changed = shop.storage.sql("UPDATE refunds SET event_revision = 1").await;
    assert_eq!(changed.expect("the statement is right").rows_affected(), 1);
    let settled = shop.settle_refund(&stuck, RefundOutcome::Failed, "").await.expect("it is stuck");
    assert_eq!(settled.state(), RefundState::Failed);
    let kept = get(&shop.server, reservation(&sold)).await.expect("it is found");
    assert_eq!((names(&kept.seats), kept.state()), ("A1 A2".to_owned(), ReservationState::Confirmed));
    let events = every_event(shop.server.events()).await;
    let told = kinds(&events, &stuck.refund_id);
    assert_eq!(told, ["PaymentRefundStarted", "PaymentRefundStuck", "PaymentRefundFailed"]);
    let whole = 2 * each(&sold);
    shop.assert_audit(&[("gateway", whole), ("sales", -whole)]).await;
}

async fn of_many_operators_one_settles_a_refund(shop: WrongShop) {
    let (sold, stuck) = shop.differs().await;
    let outcomes = [RefundOutcome::Done, RefundOutcome::PaidOut, RefundOutcome::Failed];
    let settling = (0..9).map(|at| shop.settle_refund(&stuck, outcomes[at % 3], ""));
    let done = futures_util::future::join_all(settling).await;
    let (first, others): (Vec<_>, Vec<_>) = done.into_iter().partition(Result::is_ok);
    assert_eq!(first.len(), 1, "{first:?} {others:?}");
    for refused in others {
        assert_refused(&refused.expect_err("it is refused"), Code::FailedPrecondition, "REFUND_NOT_STUCK");
    }
    let payment = until_ended(&shop.server, &sold, 1).await;
    assert_eq!(&payment.refunds[0], first[0].as_ref().expect("it is settled"));
    let failed = payment.refunds[0].state() == RefundState::Failed;
    let kept = get(&shop.server, reservation(&sold)).await.expect("it is found");
    assert_eq!(names(&kept.seats), if failed { "A1 A2" } else { "A2" });
    let entries = books(&shop.storage.connect().await).await;
    assert_eq!(entries.iter().map(|(_, minor)| minor).sum::<i64>(), 0, "{entries:?}");
}

async fn flaws_are_named_and_change_nothing(shop: WrongShop) {
    let (_, stuck) = shop.differs().await;
    for note in ["", " ", "two\nlines", "4111 1111 1111 1111", &"x".repeat(501)] {
        assert_violates(&shop.resume_refund(&stuck, note).await.expect_err("the note is not valid"), &["note"]);
    }
    let status = shop.settle_refund(&stuck, RefundOutcome::Unspecified, "").await.expect_err("there is no outcome");
    assert_violates(&status, &["outcome"]);
    for (outcome, till) in [(RefundOutcome::Done, "till 7"), (RefundOutcome::PaidOut, &*"t".repeat(65))] {
        assert_violates(&shop.settle_refund(&stuck, outcome, till).await.expect_err("the till is wrong"), &["till"]);
    }
    let unknown = Refund { refund_id: request_id(), ..stuck.clone() };
    let status = shop.resume_refund(&unknown, "why").await.expect_err("there is none");
    assert_not_found(&status, "REFUND_NOT_FOUND", &unknown.refund_id);
    let listed = shop.stuck_refunds().await;
    assert_eq!((listed[0].refund.as_ref(), listed[0].notes.len()), (Some(&stuck), 0));
}

async fn operators_use_the_command_for_refunds(shop: WrongShop) {
    let run = |arguments: &[&str]| shop.server.operate("refunds", arguments);
    assert_eq!(run(&["list"]), (Some(0), "no refund is stuck\n".to_owned()));
    let (sold, stuck) = shop.refused().await;
    let id = stuck.refund_id.as_str();
    let (code, printed) = run(&["list"]);
    assert_eq!(code, Some(0), "{printed}");
    let cost = format!("{}.{:02} EUR stuck", each(&sold) / 100, each(&sold) % 100);
    let why = format!("after {} attempts: refund_refused", stuck.attempts);
    for part in [id, &cost, &why, &sold.purchase_id, "seats A1 were given up before"] {
        assert!(printed.contains(part), "{part} is missing:\n{printed}");
    }
    let before = stuck.attempts;
    let (code, printed) = run(&["resume", id, "--note", "as the gateway asks"]);
    assert_eq!((code, printed.ends_with(" pending\n")), (Some(0), true), "{printed}");
    eventually("it is stuck again", async || {
        let listed = shop.stuck_refunds().await;
        listed.iter().any(|stuck| stuck.refund.as_ref().is_some_and(|refund| refund.attempts > before)).then_some(())
    })
    .await;
    let (_, printed) = run(&["list"]);
    assert!(printed.contains("resumed: as the gateway asks"), "{printed}");
    let settle = ["settle", id, "--outcome", "paid-out", "--till", "till 7", "--note", "in cash"];
    let (code, printed) = run(&settle);
    assert_eq!((code, printed.ends_with(" EUR done\n")), (Some(0), true), "{printed}");
    let (code, printed) = run(&settle);
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("FailedPrecondition: the refund is not stuck"), "{printed}");
}

#[tokio::test]
async fn the_command_for_refunds_says_what_it_cannot_do() {
    for (arguments, why) in [
        (&["lists"][..], "refunds lists: is none of list, resume ID and settle ID"),
        (&["resume", "7"], "refunds resume 7: needs --note, which says why"),
        (
            &["settle", "7", "--note", "why", "--outcome", "paid"],
            "refunds settle 7: needs --outcome done, paid-out or failed",
        ),
    ] {
        let output = binary().arg("refunds").args(arguments).output().expect("the binary runs");
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && printed.contains(why), "{printed}");
    }
}
