//! Keys, amounts and tombstones: what is done once, what is refused, and what a late call finds.

use super::*;

#[tokio::test]
async fn an_authorize_after_a_void_of_an_unseen_key_answers_voided() {
    let demo = Demo::start().await;
    let gateway = demo.gateway();
    assert_eq!(gateway.payment("p").await, Err(Trouble::NotFound));
    assert_eq!(gateway.void(&step("p", "void", 2_500)).await.unwrap().state, GatewayState::Voided);
    for _ in 0..2 {
        let late = gateway.authorize(&by("tok_ok", "p")).await.unwrap();
        assert_eq!((&late.state, state_of(&late, "p/authorize")), (&GatewayState::Voided, failed("voided")));
        assert_eq!(late.operations.len(), 2);
    }
    assert_refused(gateway.capture(&step("p", "capture", 2_500)).await, Refusal::FailedPrecondition);
    let other = Authorize { amount: euros(2_501), operation_key: "p/other".to_owned(), ..by("tok_ok", "p") };
    assert_refused(gateway.authorize(&other).await, Refusal::InvalidArgument);
}

#[tokio::test]
async fn a_void_ends_what_is_not_captured_and_nothing_else() {
    let mut demo = Demo::start().await;
    let gateway = demo.gateway();
    gateway.authorize(&by("tok_ok", "a")).await.unwrap();
    assert_eq!(gateway.void(&step("a", "void", 2_500)).await.unwrap().state, GatewayState::Voided);
    assert_eq!(gateway.void(&step("a", "void", 2_500)).await.unwrap().operations.len(), 2, "the same void");
    assert_eq!(gateway.authorize(&by("tok_ok", "a")).await.unwrap().state, GatewayState::Voided, "a late repetition");
    assert_refused(gateway.capture(&step("a", "capture", 2_500)).await, Refusal::FailedPrecondition);
    assert_refused(gateway.refund(&step("a", "refund", 1)).await, Refusal::FailedPrecondition);

    gateway.authorize(&by("tok_action_required", "b")).await.unwrap();
    let report = gateway.void(&step("b", "void", 2_500)).await.unwrap();
    assert_eq!((&report.state, state_of(&report, "b/authorize")), (&GatewayState::Voided, failed("voided")));
    assert_eq!(demo.complete("b", true).await, "PAYMENT_STATE_VOIDED", "the customer comes too late");

    captured(&gateway, "tok_ok", "c").await;
    assert_refused(gateway.void(&step("c", "void", 2_500)).await, Refusal::FailedPrecondition);
}

#[tokio::test]
async fn a_repeated_operation_key_has_no_second_effect() {
    let demo = Demo::with_quick_refunds().await;
    let gateway = demo.gateway();
    captured(&gateway, "tok_ok", "p").await;
    for _ in 0..3 {
        gateway.refund(&step("p", "refund", 1_000)).await.unwrap();
    }
    assert_eq!(captured(&gateway, "tok_ok", "p").await.refunded_minor, 1_000);
    let report = gateway.payment("p").await.unwrap();
    assert_eq!((report.captured_minor, report.refunded_minor, report.operations.len()), (2_500, 1_000, 3));
}

#[tokio::test]
async fn a_repeated_operation_key_with_other_content_is_refused() {
    let demo = Demo::start().await;
    let gateway = demo.gateway();
    captured(&gateway, "tok_ok", "p").await;
    let same = by("tok_ok", "p");
    for other in [
        Authorize { amount: euros(2_499), ..same.clone() },
        Authorize { token: "tok_slow".to_owned(), ..same.clone() },
        Authorize { method: "PAYPAL".to_owned(), ..same.clone() },
        Authorize { return_uri: String::new(), ..same.clone() },
        Authorize { payment_key: "q".to_owned(), ..same.clone() },
    ] {
        assert_refused(gateway.authorize(&other).await, Refusal::InvalidArgument);
    }
    for other in [step("p", "capture", 2_499), Operation { payment_key: "q".to_owned(), ..step("p", "capture", 2_500) }]
    {
        assert_refused(gateway.capture(&other).await, Refusal::InvalidArgument);
    }
    // The key of a capture is not that of a refund.
    assert_refused(gateway.refund(&step("p", "capture", 2_500)).await, Refusal::InvalidArgument);
    assert_eq!(gateway.payment("q").await, Err(Trouble::NotFound));
}

#[tokio::test]
async fn a_payment_key_has_one_authorisation_and_one_capture() {
    let demo = Demo::start().await;
    let gateway = demo.gateway();
    for token in ["tok_ok", "tok_declined_expired_card", "tok_action_required"] {
        gateway.authorize(&by(token, token)).await.unwrap();
        let second = Authorize { operation_key: format!("{token}/second"), ..by("tok_ok", token) };
        assert_refused(gateway.authorize(&second).await, Refusal::FailedPrecondition);
    }
    gateway.capture(&step("tok_ok", "capture", 1_000)).await.unwrap();
    assert_refused(gateway.capture(&step("tok_ok", "second", 1_000)).await, Refusal::FailedPrecondition);
    assert_refused(gateway.refund(&step("tok_ok", "refund", 1_001)).await, Refusal::FailedPrecondition);
    assert_eq!(gateway.capture(&step("nobody", "capture", 1)).await, Err(Trouble::NotFound));
    assert_eq!(gateway.refund(&step("nobody", "refund", 1)).await, Err(Trouble::NotFound));
}

#[tokio::test]
async fn amounts_that_do_not_fit_the_payment_are_refused() {
    let demo = Demo::start().await;
    let gateway = demo.gateway();
    gateway.authorize(&by("tok_ok", "p")).await.unwrap();
    let yen = Money { currency: Currency::parse("JPY").unwrap(), minor: 2_500 };
    for wrong in [step("p", "a", 2_501), step("p", "b", 0), Operation { amount: yen, ..step("p", "c", 0) }] {
        assert_refused(gateway.capture(&wrong).await, Refusal::InvalidArgument);
    }
    for wrong in [step("p", "d", 2_499), Operation { amount: yen, ..step("p", "e", 0) }] {
        assert_refused(gateway.void(&wrong).await, Refusal::InvalidArgument);
    }
    for key in ["", "a b", "ä", &"k".repeat(129)] {
        let request = Authorize { payment_key: key.to_owned(), ..by("tok_ok", "p") };
        assert_refused(gateway.authorize(&request).await, Refusal::InvalidArgument);
        let request = Authorize { operation_key: key.to_owned(), ..by("tok_ok", "p") };
        assert_refused(gateway.authorize(&request).await, Refusal::InvalidArgument);
    }
    assert_authorized(&gateway.payment("p").await.unwrap());
}
