//! Purchases that are stuck: operators list them, let them go on, and say how they end.

use boxoffice::pb::{
    boxoffice::v1::{
        CancelShowtimeRequest, ListStuckPurchasesRequest, PaymentState, Purchase, PurchaseNoteAction, PurchaseOutcome,
        PurchaseState, PurchaseStepName, PurchaseStepState, Reservation, ReservationState, ResumePurchaseRequest,
        SettlePurchaseRequest, StuckPurchase, TicketState,
    },
    payments::v1::PaymentState as GatewayState,
};
use tonic::{Code, Status};

use crate::{
    harness::{
        assert_not_found, assert_refused, assert_violates,
        door::{scan, upload},
        eventually, in_hours,
        money::minor,
        process::free_port,
        purchases::{books, buy, of_seats, purchase, step, until_refunded, until_state},
        request_id,
        seats::{reserve, showtime, these},
        server::binary,
        shop::WrongShop,
        timestamp,
        wrong_gateway::Wrong,
    },
    tickets::tickets,
};

impl WrongShop {
    /// A purchase of this seat that gets stuck because of what is wrong.
    async fn stuck(&self, seat: &str, token: &str, wrong: Wrong) -> Purchase {
        let showtime = showtime(&self.server).await;
        self.wrong.set(wrong);
        let begun = buy(&self.server, of_seats(&showtime, "ada", seat, token)).await.expect("it begins");
        let stuck = until_state(&self.server, &begun, PurchaseState::Stuck).await;
        self.wrong.set(Wrong::Nothing);
        stuck
    }

    async fn list(&self) -> Vec<StuckPurchase> {
        let request = ListStuckPurchasesRequest::default();
        self.server.operations().list_stuck_purchases(request).await.expect("a list").into_inner().purchases
    }

    async fn resume(&self, of: &Purchase, note: &str) -> Result<Purchase, Status> {
        let request = ResumePurchaseRequest { purchase_id: of.purchase_id.clone(), note: note.to_owned() };
        let answer = self.server.operations().resume_purchase(request).await?;
        Ok(answer.into_inner().purchase.expect("the answer has the purchase"))
    }

    async fn settle(&self, of: &Purchase, outcome: PurchaseOutcome) -> Result<Purchase, Status> {
        let (purchase_id, note) = (of.purchase_id.clone(), "seen in the gateway's console".to_owned());
        let request = SettlePurchaseRequest { purchase_id, outcome: outcome.into(), note };
        let answer = self.server.operations().settle_purchase(request).await?;
        Ok(answer.into_inner().purchase.expect("the answer has the purchase"))
    }

    /// Asserts that another customer can have the seat of the purchase.
    async fn assert_free(&self, of: &Purchase, seat: &str) {
        let mut showtime = showtime(&self.server).await;
        showtime.showtime_id = of.reservation.as_ref().expect("it has its reservation").showtime_id.clone();
        reserve(&self.server, these(&showtime, "bob", seat)).await.expect("the seat is free again");
    }

    async fn books(&self) -> Vec<(String, i64)> {
        books(&self.storage.connect().await).await
    }
}

in_both_shops!(WrongShop:
    a_purchase_that_is_stuck_goes_on_when_it_is_resumed,
    a_purchase_whose_void_is_refused_goes_on_when_it_is_resumed,
    a_sold_purchase_is_settled_as_completed_with_its_money,
    a_sold_purchase_is_settled_as_compensated_and_its_seats_are_free,
    a_purchase_that_is_not_sold_cannot_be_settled_as_completed,
    a_sold_purchase_is_settled_as_completed_after_its_showtime_was_cancelled,
    of_many_operators_one_is_first,
    notes_are_demanded_and_have_no_card_number,
    operators_use_the_command,
    a_ticket_that_was_scanned_before_its_money_was_taken_admits_nobody_else,
);

async fn a_ticket_that_was_scanned_before_its_money_was_taken_admits_nobody_else(shop: WrongShop) {
    for settled in [false, true] {
        let stuck = shop.stuck("A1", "tok_ok", Wrong::CapturedAmount).await;
        let made = tickets(&shop.server, &stuck.purchase_id).await;
        assert_eq!(made[0].state(), TicketState::Blocked);
        let scans = [scan(&made[0], "1", timestamp(in_hours(0)))];
        upload(&shop.server, "door 1", &scans).await.expect("it is recorded");
        let going_on = if settled {
            shop.settle(&stuck, PurchaseOutcome::Completed).await
        } else {
            shop.resume(&stuck, "it is repaired").await
        };
        let going_on = going_on.expect("it is stuck");
        until_state(&shop.server, &going_on, PurchaseState::Completed).await;
        let after = tickets(&shop.server, &stuck.purchase_id).await;
        assert_eq!((after[0].state(), after[0].use_device.as_str()), (TicketState::Used, "door 1"));
    }
}

async fn a_purchase_that_is_stuck_goes_on_when_it_is_resumed(shop: WrongShop) {
    assert!(shop.list().await.is_empty());
    let stuck = shop.stuck("A1", "tok_ok", Wrong::CapturedAmount).await;
    let failed = step(&stuck, PurchaseStepName::Capture);
    assert_eq!(failed.state(), PurchaseStepState::Failed);
    assert!(failed.message.contains("the amount"), "{failed:?}");
    eventually("it is counted", async || {
        shop.server.metrics().await.sum("boxoffice_purchase_stuck", &[]).filter(|count| *count > 0.5)
    })
    .await;
    // The gateway is as wrong as before: it is stuck again, and the note is kept.
    shop.wrong.set(Wrong::CapturedAmount);
    let again = shop.resume(&stuck, "the gateway says it was a glitch").await.expect("it is stuck");
    until_state(&shop.server, &again, PurchaseState::Stuck).await;
    shop.wrong.set(Wrong::Nothing);
    let listed = shop.list().await;
    assert_eq!(listed.len(), 1, "{listed:#?}");
    let notes: Vec<_> = listed[0].notes.iter().map(|note| (note.action(), note.note.as_str())).collect();
    assert_eq!(notes, [(PurchaseNoteAction::Resumed, "the gateway says it was a glitch")]);
    assert!(listed[0].notes[0].time.is_some());
    let resumed = shop.resume(&stuck, "now it is repaired").await.expect("it is stuck");
    let bought = until_state(&shop.server, &resumed, PurchaseState::Completed).await;
    assert_eq!(bought.payments[0].state(), PaymentState::Completed);
    assert!(shop.list().await.is_empty());
    let status = shop.resume(&stuck, "once more").await.expect_err("it has ended");
    assert_refused(&status, Code::FailedPrecondition, "PURCHASE_NOT_STUCK");
    assert_eq!(shop.gateway.states().await, [GatewayState::Captured]);
    assert_eq!(shop.books().await.iter().map(|(_, minor)| minor).sum::<i64>(), 0);
    assert_eq!(shop.books().await.len(), 2);
    let metrics = shop.server.metrics().await;
    let of = |name: &str, labels: &[&str]| metrics.sum(name, labels).unwrap_or_default();
    assert!((of("boxoffice_purchase_steps_total", &["step=\"authorize\"", "outcome=\"done\""]) - 1.0).abs() < 0.5);
    assert!((of("boxoffice_purchase_steps_total", &["step=\"capture\"", "outcome=\"failed\""]) - 2.0).abs() < 0.5);
    assert!((of("boxoffice_purchase_ended_total", &["state=\"completed\""]) - 1.0).abs() < 0.5);
    assert!((of("boxoffice_purchase_duration_seconds_count", &["state=\"completed\""]) - 1.0).abs() < 0.5);
}

async fn a_purchase_whose_void_is_refused_goes_on_when_it_is_resumed(shop: WrongShop) {
    let stuck = shop.stuck("A1", "tok_capture_fails", Wrong::Void).await;
    assert_eq!(stuck.reservation.as_ref().map(Reservation::state), Some(ReservationState::Confirmed));
    let resumed = shop.resume(&stuck, "voids work again").await.expect("it is stuck");
    let undone = until_state(&shop.server, &resumed, PurchaseState::Compensated).await;
    assert_eq!(undone.payments[0].state(), PaymentState::Failed);
    assert_eq!(shop.gateway.states().await, [GatewayState::Voided]);
    shop.assert_free(&stuck, "A1").await;
    assert!(shop.books().await.is_empty());
}

async fn a_sold_purchase_is_settled_as_completed_with_its_money(shop: WrongShop) {
    let stuck = shop.stuck("A1", "tok_ok", Wrong::CapturedAmount).await;
    let settled = shop.settle(&stuck, PurchaseOutcome::Completed).await.expect("its seats are sold");
    assert_eq!((settled.state(), &settled.failure), (PurchaseState::Completed, &None), "{settled:#?}");
    assert!(settled.complete_time.is_some());
    assert_eq!(settled.payments[0].state(), PaymentState::Completed);
    assert_eq!(settled.reservation.as_ref().map(Reservation::state), Some(ReservationState::Confirmed));
    let minor = minor(settled.total.as_ref());
    assert_eq!(shop.books().await, [("gateway".to_owned(), minor), ("sales".to_owned(), -minor)]);
    let status = shop.settle(&stuck, PurchaseOutcome::Compensated).await.expect_err("it has ended");
    assert_refused(&status, Code::FailedPrecondition, "PURCHASE_NOT_STUCK");
    assert_eq!(purchase(&shop.server, &stuck).await.state(), PurchaseState::Completed);
}

async fn a_sold_purchase_is_settled_as_compensated_and_its_seats_are_free(shop: WrongShop) {
    let stuck = shop.stuck("A1", "tok_ok", Wrong::CapturedAmount).await;
    let settled = shop.settle(&stuck, PurchaseOutcome::Compensated).await.expect("it is stuck");
    assert_eq!(settled.state(), PurchaseState::Compensated, "{settled:#?}");
    assert_eq!(settled.payments[0].state(), PaymentState::Failed);
    assert_eq!(settled.reservation.as_ref().map(Reservation::state), Some(ReservationState::Cancelled));
    shop.assert_free(&stuck, "A1").await;
    assert!(shop.books().await.is_empty());
}

async fn a_purchase_that_is_not_sold_cannot_be_settled_as_completed(shop: WrongShop) {
    let stuck = shop.stuck("A1", "tok_ok", Wrong::AuthorizedAmount).await;
    let status = shop.settle(&stuck, PurchaseOutcome::Completed).await.expect_err("its seats are not sold");
    assert_refused(&status, Code::FailedPrecondition, "PURCHASE_NOT_SOLD");
    assert_eq!(purchase(&shop.server, &stuck).await.state(), PurchaseState::Stuck);
    let settled = shop.settle(&stuck, PurchaseOutcome::Compensated).await.expect("it is stuck");
    assert_eq!(settled.state(), PurchaseState::Compensated, "{settled:#?}");
    assert!(settled.failure.is_some());
    shop.assert_free(&stuck, "A1").await;
    assert!(shop.books().await.is_empty());
}

/// The refund that the cancellation has begun waits for the payment, and goes on when an operator says that it was taken.
async fn a_sold_purchase_is_settled_as_completed_after_its_showtime_was_cancelled(shop: WrongShop) {
    let stuck = shop.stuck("A1", "tok_ok", Wrong::CapturedTotal).await;
    let showtime_id = stuck.reservation.clone().expect("it has its reservation").showtime_id;
    let cancel = CancelShowtimeRequest { showtime_id, force: true, ..CancelShowtimeRequest::default() };
    shop.server.showtimes().cancel_showtime(cancel).await.expect("the showtime is cancelled");
    let settled = shop.settle(&stuck, PurchaseOutcome::Completed).await.expect("its seats were sold");
    assert_eq!(settled.state(), PurchaseState::Completed, "{settled:#?}");
    until_refunded(&shop.server, &settled).await;
    shop.assert_audited().await;
}

async fn of_many_operators_one_is_first(shop: WrongShop) {
    for (seat, sold) in [("A1", true), ("A3", false)] {
        let wrong = if sold { Wrong::CapturedAmount } else { Wrong::AuthorizedAmount };
        let stuck = shop.stuck(seat, "tok_ok", wrong).await;
        let outcomes = [PurchaseOutcome::Completed, PurchaseOutcome::Compensated];
        let settling = (0..8).map(|at| shop.settle(&stuck, outcomes[at % 2]));
        let done = futures_util::future::join_all(settling).await;
        let (first, others): (Vec<_>, Vec<_>) = done.into_iter().partition(Result::is_ok);
        assert_eq!(first.len(), 1, "{first:?} {others:?}");
        for refused in others {
            assert_eq!(refused.expect_err("it is refused").code(), Code::FailedPrecondition);
        }
        let ended = purchase(&shop.server, &stuck).await;
        assert_eq!(ended.state(), first[0].as_ref().expect("it is settled").state());
        let entries = shop.books().await;
        let is_completed = ended.state() == PurchaseState::Completed;
        assert_eq!(entries.iter().map(|(_, minor)| minor).sum::<i64>(), 0, "{entries:?}");
        if sold {
            let state = ended.reservation.as_ref().map(Reservation::state);
            let expected = if is_completed { ReservationState::Confirmed } else { ReservationState::Cancelled };
            assert_eq!((state, entries.len()), (Some(expected), if is_completed { 2 } else { 0 }));
        } else {
            assert!(!is_completed);
        }
    }
}

async fn notes_are_demanded_and_have_no_card_number(shop: WrongShop) {
    let stuck = shop.stuck("A1", "tok_ok", Wrong::AuthorizedAmount).await;
    for note in ["", " ", "two\nlines", "4111 1111 1111 1111", &"x".repeat(501)] {
        assert_violates(&shop.resume(&stuck, note).await.expect_err("the note is not valid"), &["note"]);
    }
    let status = shop.settle(&stuck, PurchaseOutcome::Unspecified).await.expect_err("there is no outcome");
    assert_violates(&status, &["outcome"]);
    let unknown = Purchase { purchase_id: request_id(), ..stuck.clone() };
    let status = shop.resume(&unknown, "why").await.expect_err("there is none");
    assert_not_found(&status, "PURCHASE_NOT_FOUND", &unknown.purchase_id);
    assert_eq!(shop.list().await[0].notes, []);
}

async fn operators_use_the_command(shop: WrongShop) {
    let run = |arguments: &[&str]| shop.server.operate("purchases", arguments);
    assert_eq!(run(&["list"]), (Some(0), "no purchase is stuck\n".to_owned()));
    let stuck = shop.stuck("A1", "tok_ok", Wrong::CapturedAmount).await;
    let (id, failed_after) = (stuck.purchase_id.as_str(), step(&stuck, PurchaseStepName::Capture).attempts);
    let (code, printed) = run(&["list"]);
    assert_eq!(code, Some(0), "{printed}");
    for part in [id, &stuck.number, "CAPTURE failed after 1 attempts", "the amount", "AUTHORIZED"] {
        assert!(printed.contains(part), "{part} is missing:\n{printed}");
    }
    shop.wrong.set(Wrong::CapturedAmount);
    let (code, printed) = run(&["resume", id, "--note", "as the gateway asks"]);
    assert_eq!((code, printed.starts_with(id)), (Some(0), true), "{printed}");
    eventually("it was asked once more, and is stuck again", async || {
        let now = purchase(&shop.server, &stuck).await;
        let asked = step(&now, PurchaseStepName::Capture).attempts > failed_after;
        (now.state() == PurchaseState::Stuck && asked).then_some(())
    })
    .await;
    let (_, printed) = run(&["list"]);
    assert!(printed.contains("resumed: as the gateway asks"), "{printed}");
    let settle = ["settle", id, "--outcome", "completed", "--note", "captured, as their console says"];
    assert_eq!(run(&settle), (Some(0), format!("{id} {} completed\n", stuck.number)));
    let (code, printed) = run(&settle);
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("FailedPrecondition: the purchase is not stuck"), "{printed}");
}

#[tokio::test]
async fn the_command_says_what_it_cannot_do() {
    let printed = |arguments: &[&str]| {
        let output = binary().arg("purchases").args(arguments).output().expect("the binary runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (arguments, why) in [
        (&["lists"][..], "purchases lists: is none of list, resume ID and settle ID"),
        (&["resume", "7"], "purchases resume 7: needs --note, which says why"),
        (
            &["settle", "7", "--note", "why", "--outcome", "paid"],
            "purchases settle 7: needs --outcome completed or --outcome compensated",
        ),
    ] {
        let (code, printed) = printed(arguments);
        assert!(code == Some(2) && printed.contains(why), "{printed}");
    }
    let address = format!("127.0.0.1:{}", free_port());
    let silent = format!("boxoffice: {address} does not answer as a gRPC server\n");
    assert_eq!(printed(&["list", "--address", &address]), (Some(1), silent));
}
