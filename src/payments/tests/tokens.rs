//! What each token of the demo gateway does.

use super::*;

#[tokio::test]
async fn a_payment_is_authorised_captured_and_refunded_in_parts() {
    let demo = Demo::with_quick_refunds().await;
    let gateway = demo.gateway();
    let report = gateway.authorize(&by("tok_ok", "p")).await.unwrap();
    assert_authorized(&report);
    assert_eq!((report.key.as_str(), report.amount_minor, report.currency.code()), ("p", 2_500, "EUR"));
    assert_eq!((report.captured_minor, report.refunded_minor), (0, 0));
    let report = gateway.capture(&step("p", "capture", 2_400)).await.unwrap();
    assert_eq!((&report.state, report.captured_minor), (&GatewayState::Captured, 2_400));

    let report = gateway.refund(&step("p", "refund-1", 400)).await.unwrap();
    assert_eq!((state_of(&report, "p/refund-1"), report.refunded_minor), (OperationState::Pending, 0));
    let report = gateway.payment("p").await.unwrap();
    assert_eq!((state_of(&report, "p/refund-1"), report.refunded_minor), (OperationState::Done, 400));
    assert_refused(gateway.refund(&step("p", "refund-2", 2_001)).await, Refusal::FailedPrecondition);
    gateway.refund(&step("p", "refund-3", 2_000)).await.unwrap();
    let report = gateway.payment("p").await.unwrap();
    assert_eq!((&report.state, report.refunded_minor), (&GatewayState::Captured, 2_400));
    assert!(report.operations.iter().all(|one| one.create_time.is_some() && one.end_time.is_some()));
    let page = gateway.list("").await.unwrap();
    assert_eq!((page.payments, page.unreadable, page.next_page_token.as_str()), (vec![report], 0, ""));
}

#[tokio::test]
async fn declines_have_a_code_and_say_whether_another_token_may_succeed() {
    let demo = Demo::start().await;
    let gateway = demo.gateway();
    for (token, code, retryable) in [
        ("tok_declined_insufficient_funds", "insufficient_funds", true),
        ("tok_declined_expired_card", "expired_card", true),
        ("tok_nobody_knows", "unknown_token", false),
    ] {
        let report = gateway.authorize(&by(token, token)).await.unwrap();
        assert_eq!(report.state, GatewayState::Declined { code: code.to_owned(), retryable });
        assert_eq!(state_of(&report, &format!("{token}/authorize")), failed(code));
        assert_refused(gateway.capture(&step(token, "capture", 2_500)).await, Refusal::FailedPrecondition);
        // A void makes sure of what is so already.
        assert_eq!(gateway.void(&step(token, "void", 2_500)).await.unwrap().state, report.state);
    }
}

#[tokio::test]
async fn a_customer_approves_refuses_or_is_too_late() {
    let mut demo = Demo::start().await;
    let gateway = demo.gateway();
    for (key, approve, state) in [("yes", true, "AUTHORIZED"), ("no", false, "DECLINED")] {
        let report = gateway.authorize(&by("tok_action_required", key)).await.unwrap();
        let GatewayState::ActionRequired { redirect_uri, expire_time: Some(_) } = &report.state else {
            panic!("{report:?}")
        };
        assert!(redirect_uri.starts_with("https://"), "{redirect_uri}");
        assert_eq!(state_of(&report, &format!("{key}/authorize")), OperationState::Pending);
        assert_refused(gateway.capture(&step(key, "capture", 2_500)).await, Refusal::FailedPrecondition);
        assert_eq!(demo.complete(key, approve).await, format!("PAYMENT_STATE_{state}"));
        // The customer cannot change it afterwards.
        assert_eq!(demo.complete(key, !approve).await, format!("PAYMENT_STATE_{state}"));
    }
    assert_authorized(&gateway.payment("yes").await.unwrap());
    let refused = gateway.payment("no").await.unwrap();
    let code = "authentication_failed".to_owned();
    assert_eq!(refused.state, GatewayState::Declined { code, retryable: true });

    demo.set(GatewayFaultSettings { action_timeout: Some(prost_types::Duration::default()), ..no_faults() }).await;
    gateway.authorize(&by("tok_action_required", "late")).await.unwrap();
    assert_eq!(demo.complete("late", true).await, "PAYMENT_STATE_DECLINED");
    let late = gateway.payment("late").await.unwrap();
    assert_eq!(state_of(&late, "late/authorize"), failed("expired"));
    let unknown = CompleteActionRequest { payment_key: "nobody".to_owned(), approve: true };
    assert_eq!(demo.faults.complete_action(unknown).await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn a_charge_whose_answer_never_came_is_found() {
    let demo = Demo::start().await;
    let gateway = demo.gateway();
    for (token, client) in [
        ("tok_slow", demo.impatient()),
        ("tok_timeout_after_charge", demo.impatient()),
        ("tok_lost_reply", demo.gateway()),
    ] {
        assert_unknown(client.authorize(&by(token, token)).await);
        assert_authorized(&gateway.payment(token).await.unwrap());
        // The repeated call has no effect, and is answered.
        let again = gateway.authorize(&by(token, token)).await.unwrap();
        assert_authorized(&again);
        assert_eq!(again.operations.len(), 1);
    }
}

#[tokio::test]
async fn a_call_that_did_nothing_and_was_not_answered_works_when_it_is_repeated() {
    let demo = Demo::start().await;
    let gateway = demo.gateway();
    assert_unknown(demo.impatient().authorize(&by("tok_timeout_before_charge", "p")).await);
    assert_eq!(gateway.payment("p").await, Err(Trouble::NotFound));
    assert_authorized(&gateway.authorize(&by("tok_timeout_before_charge", "p")).await.unwrap());
}

#[tokio::test]
async fn captures_and_refunds_can_fail_for_good() {
    let demo = Demo::with_quick_refunds().await;
    let gateway = demo.gateway();
    gateway.authorize(&by("tok_capture_fails", "c")).await.unwrap();
    let report = gateway.capture(&step("c", "capture", 2_500)).await.unwrap();
    assert_authorized(&report);
    assert_eq!((state_of(&report, "c/capture"), report.captured_minor), (failed("capture_refused"), 0));
    assert_eq!(gateway.void(&step("c", "void", 2_500)).await.unwrap().state, GatewayState::Voided);

    captured(&gateway, "tok_refund_fails", "r").await;
    gateway.refund(&step("r", "refund", 2_500)).await.unwrap();
    let report = gateway.payment("r").await.unwrap();
    assert_eq!((state_of(&report, "r/refund"), report.refunded_minor), (failed("refund_refused"), 0));
    // What failed is not taken off what is left.
    gateway.refund(&step("r", "again", 2_500)).await.unwrap();
}

#[tokio::test]
async fn an_error_that_says_nothing_leaves_nothing_behind() {
    let demo = Demo::start().await;
    let gateway = demo.gateway();
    for _ in 0..2 {
        assert_unknown(gateway.authorize(&by("tok_error", "p")).await);
    }
    assert_eq!(gateway.payment("p").await, Err(Trouble::NotFound));
}

#[tokio::test]
async fn what_looks_like_a_card_number_is_refused_and_not_repeated() {
    let demo = Demo::start().await;
    let gateway = demo.gateway();
    let card = "4111111111111111";
    for request in [
        by(card, "p"),
        by("tok_4111-1111-1111-1111", "p"),
        by("tok_ok", card),
        Authorize { return_uri: format!("https://cinema.example/{card}"), ..by("tok_ok", "p") },
    ] {
        let refused = gateway.authorize(&request).await;
        assert!(!format!("{refused:?}").contains("1111"), "{refused:?}");
        assert!(
            !format!("{:?}", Authorize { payment_key: String::new(), operation_key: String::new(), ..request })
                .contains("1111")
        );
        assert_refused(refused, Refusal::InvalidArgument);
    }
    assert_eq!(gateway.list("").await.unwrap().payments, []);
}

#[tokio::test]
async fn faults_do_what_they_say_and_end_on_shutdown() {
    let mut demo = Demo::start().await;
    let gateway = demo.gateway();
    demo.set(GatewayFaultSettings { outage: true, ..no_faults() }).await;
    assert_unknown(gateway.authorize(&by("tok_ok", "outage")).await);
    demo.set(GatewayFaultSettings { lost_reply_percent: 100, ..no_faults() }).await;
    assert_unknown(gateway.authorize(&by("tok_ok", "lost")).await);
    demo.set(no_faults()).await;
    assert_eq!(gateway.payment("outage").await, Err(Trouble::NotFound));
    assert_authorized(&gateway.payment("lost").await.unwrap());
    for bad in [
        GatewayFaultSettings { failure_percent: 101, ..no_faults() },
        GatewayFaultSettings { lost_reply_percent: -1, ..no_faults() },
        GatewayFaultSettings { refund_delay: Some(prost_types::Duration { seconds: 3_601, nanos: 0 }), ..no_faults() },
    ] {
        let refused = demo.faults.set_gateway_faults(SetGatewayFaultsRequest { faults: Some(bad) }).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }
    demo.set(GatewayFaultSettings { black_hole: true, ..no_faults() }).await;
    let unanswered = tokio::spawn(async move { gateway.payment("lost").await });
    let calls = async |demo: &mut Demo| {
        let request = crate::pb::boxoffice::demo::v1::GetGatewayFaultsRequest {};
        demo.faults.get_gateway_faults(request).await.unwrap().into_inner().call_count
    };
    while calls(&mut demo).await < 5 {
        tokio::task::yield_now().await;
    }
    demo.shutdown.cancel();
    assert_unknown(unanswered.await.unwrap());
}
