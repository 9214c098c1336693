//! Answers of a gateway that breaks the contract: none of them is taken for what was asked.

use crate::{
    payments::{money, report::OperationKind},
    pb::{google::r#type::Money as MoneyMessage, payments::v1 as pb},
};

use super::*;

/// The answer to an authorisation of 25 EUR.
fn good() -> pb::Payment {
    pb::Payment {
        payment_key: "p".to_owned(),
        amount: Some(money::message(euros(2_500))),
        state: pb::PaymentState::Authorized.into(),
        operations: vec![pb::Operation {
            operation_key: "p/authorize".to_owned(),
            kind: pb::OperationKind::Authorize.into(),
            amount: Some(money::message(euros(2_500))),
            state: pb::OperationState::Done.into(),
            ..pb::Operation::default()
        }],
        ..pb::Payment::default()
    }
}

fn read(change: impl FnOnce(&mut pb::Payment)) -> Result<PaymentReport, Trouble> {
    let mut payment = good();
    change(&mut payment);
    let report = PaymentReport::read(&payment)?;
    report.check("p", "p/authorize", OperationKind::Authorize, euros(2_500))?;
    Ok(report)
}

#[track_caller]
fn assert_differs(change: impl FnOnce(&mut pb::Payment)) {
    let answer = read(change);
    assert!(matches!(answer, Err(Trouble::Differs { .. })), "{answer:?}");
}

#[test]
fn another_key_or_amount_than_was_sent_is_noticed() {
    read(|_| {}).unwrap();
    assert_differs(|payment| payment.payment_key = "q".to_owned());
    assert_differs(|payment| payment.operations.clear());
    assert_differs(|payment| payment.operations[0].operation_key = "p/other".to_owned());
    assert_differs(|payment| payment.operations[0].set_kind(pb::OperationKind::Capture));
    assert_differs(|payment| payment.operations[0].amount = Some(money::message(euros(2_501))));
    assert_differs(|payment| payment.amount = Some(money::message(euros(250_000))));
    let dollars = || Some(MoneyMessage { currency_code: "USD".to_owned(), units: 25, nanos: 0 });
    assert_differs(|payment| payment.amount = dollars());
    assert_differs(|payment| payment.operations[0].amount = dollars());
    assert_differs(|payment| {
        payment.amount = dollars();
        payment.operations[0].amount = dollars();
    });
}

#[test]
fn an_answer_that_breaks_the_contract_is_noticed() {
    assert_differs(|payment| payment.state = 0);
    assert_differs(|payment| payment.state = 99);
    assert_differs(|payment| payment.operations[0].state = 99);
    assert_differs(|payment| payment.operations[0].kind = 0);
    assert_differs(|payment| payment.amount = None);
    assert_differs(|payment| payment.captured_amount = Some(money::message(euros(2_501))));
    assert_differs(|payment| payment.refunded_amount = Some(money::message(euros(1))));
    assert_differs(|payment| payment.payment_key = "p".repeat(10_000));
    assert_differs(|payment| payment.operations = vec![payment.operations[0].clone(); 1_001]);
    for uri in ["", "javascript:alert(1)", "https://a b", &format!("https://{}", "x".repeat(10_000))] {
        assert_differs(|payment| {
            payment.set_state(pb::PaymentState::ActionRequired);
            payment.redirect_uri = uri.to_owned();
        });
    }
}

#[test]
fn texts_are_bounded_and_have_no_card_numbers() {
    let code = |raw: &str| {
        let report = read(|payment| {
            payment.set_state(pb::PaymentState::Declined);
            payment.decline_code = raw.to_owned();
        });
        match report.unwrap().state {
            GatewayState::Declined { code, retryable: false } => code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code("insufficient_funds"), "insufficient_funds");
    assert_eq!(code("two\nlines"), "twolines");
    assert_eq!(code(&"x".repeat(10_000)).len(), 100);
    assert_eq!([code(""), code("4111 1111 1111 1111")], ["unspecified"; 2]);
    let odd_time = read(|payment| {
        payment.capture_before = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: -1 });
    });
    assert_eq!(odd_time.unwrap().state, GatewayState::Authorized { capture_before: None });
}
