//! What is stored of a purchase is read again as it was.

use proptest::{
    collection::vec,
    option,
    prelude::{Just, ProptestConfig, Strategy, any, prop_assert_eq},
    proptest,
    sample::select,
};
use sea_orm::prelude::Uuid;

use super::*;

const POSITIONS: [Position; 11] = [
    Position::Held,
    Position::Authorizing,
    Position::AwaitingAction,
    Position::AwaitingToken,
    Position::Confirming,
    Position::Capturing,
    Position::Completed,
    Position::Voiding,
    Position::Refunding,
    Position::Freeing,
    Position::Compensated,
];
const NAMES: [StepName; 4] = [StepName::ReserveSeats, StepName::Pay, StepName::ConfirmReservation, StepName::Capture];
const STATES: [StepState; 4] = [StepState::Pending, StepState::Running, StepState::Done, StepState::Failed];
const REASONS: [FailureReason; 6] = [
    FailureReason::PaymentDeclined,
    FailureReason::PaymentRefused,
    FailureReason::PaymentExpired,
    FailureReason::NotSold,
    FailureReason::CaptureFailed,
    FailureReason::Cancelled,
];
const METHODS: [PaymentMethod; 7] = [
    PaymentMethod::CreditCard,
    PaymentMethod::DebitCard,
    PaymentMethod::PayPal,
    PaymentMethod::ApplePay,
    PaymentMethod::GooglePay,
    PaymentMethod::BankTransfer,
    PaymentMethod::Other,
];
const PAYMENT_STATES: [PaymentState; 8] = [
    PaymentState::Pending,
    PaymentState::Processing,
    PaymentState::Authorized,
    PaymentState::Completed,
    PaymentState::Declined,
    PaymentState::Refunded,
    PaymentState::Voided,
    PaymentState::Failed,
];

fn currencies() -> impl Strategy<Value = Currency> {
    select(&["EUR", "JPY", "KWD"][..]).prop_map(|code| Currency::parse(code).expect("a currency"))
}

/// Times in microseconds, which databases keep, long before and long after the present.
fn times() -> impl Strategy<Value = DateTime<Utc>> {
    (-60_000_000_000_000_000..250_000_000_000_000_000_i64).prop_map(|micros| time(micros).expect("a time in range"))
}

fn works() -> impl Strategy<Value = Work> {
    (select(&STATES[..]), any::<u32>(), ".{0,20}", option::of(times()), option::of(times())).prop_map(
        |(state, attempts, message, start_time, end_time)| Work { state, attempts, message, start_time, end_time },
    )
}

fn steps() -> impl Strategy<Value = Steps> {
    let step = (select(&NAMES[..]), works(), option::of(works()));
    vec(step.prop_map(|(name, work, compensation)| Step { name, work, compensation }), 0..5).prop_map(Steps)
}

fn payments(currency: Currency) -> impl Strategy<Value = Vec<Payment>> {
    let texts = (".{0,20}", "[a-z_]{0,20}");
    let amounts = (0..=i64::MAX, 0..=i64::MAX);
    let payment = (any::<u128>(), select(&METHODS[..]), select(&PAYMENT_STATES[..]), texts, amounts, times());
    let at_till = (".{0,20}", ".{0,20}", ".{0,20}", option::of(times()));
    let at_till = at_till.prop_map(|(till, tender, transaction_id, time)| {
        let local_date = time.map(|time| time.date_naive());
        AtTill { till, tender, transaction_id, local_date }
    });
    let payment = (payment, option::of(times()), option::of(at_till));
    let payment = payment.prop_map(
        move |((id, method, state, (token, decline_code), amounts, create_time), process_time, at_till)| {
            let amount = Money { currency, minor: amounts.0 };
            let (payment_id, refunded_minor) = (PaymentId(Uuid::from_u128(id)), amounts.1);
            Payment {
                payment_id,
                method,
                token,
                amount,
                refunded_minor,
                state,
                decline_code,
                create_time,
                process_time,
                at_till,
            }
        },
    );
    vec(payment, 0..4)
}

fn records() -> impl Strategy<Value = Record> {
    let failure = (select(&REASONS[..]), "[a-z_]{0,20}", any::<bool>());
    let failure = failure.prop_map(|(reason, decline_code, retryable)| Failure { reason, decline_code, retryable });
    let place = (select(&POSITIONS[..]), any::<bool>(), any::<u32>(), any::<bool>(), ".{0,40}");
    let some = || option::of(times());
    let optional = (some(), some(), some(), some(), option::of(failure));
    let money = currencies().prop_flat_map(|currency| {
        (0..=i64::MAX, payments(currency)).prop_map(move |(minor, payments)| (Money { currency, minor }, payments))
    });
    (place, optional, money, steps()).prop_map(|(place, optional, (total, payments), steps)| {
        let (position, stuck, failed_attempts, sold, redirect_uri) = place;
        let (undecided_since, not_before, pay_until, complete_time, failure) = optional;
        Record {
            position,
            stuck,
            failed_attempts,
            undecided_since,
            not_before,
            pay_until,
            redirect_uri,
            sold,
            total,
            payments,
            steps,
            failure,
            complete_time,
        }
    })
}

/// The row of a purchase, and those of its payments.
fn rows(written: &Purchase) -> (purchase::Model, Vec<payment::Model>) {
    let facts = &written.facts;
    let row = purchase::Model {
        purchase_id: facts.purchase_id.0,
        number: facts.number.as_str().to_owned(),
        customer_id: facts.customer_id.to_string(),
        showtime_id: facts.showtime_id.0,
        reservation_id: facts.reservation_id.0,
        currency: written.total().currency.code().to_owned(),
        total_minor: written.total().minor,
        create_time: facts.create_time,
        request_id: Uuid::nil(),
        caller: String::new(),
        fingerprint: Vec::new(),
        state: state_name(written.state()).to_owned(),
        fence: 1,
        version: 1,
        due_time: None,
        detail: detail(written),
        event_revision: 0,
        event_time: None,
    };
    let payment = |payment: &Payment| payment::Model {
        payment_id: payment.payment_id.0,
        purchase_id: facts.purchase_id.0,
        ordinal: 0,
        customer_id: facts.customer_id.to_string(),
        reservation_id: facts.reservation_id.0,
        method: method_name(payment.method).to_owned(),
        currency: payment.amount.currency.code().to_owned(),
        amount_minor: payment.amount.minor,
        create_time: payment.create_time,
        refunded_minor: payment.refunded_minor,
        state: payment_state_name(payment.state).to_owned(),
        token: payment.token.clone(),
        decline_code: payment.decline_code.clone(),
        process_time: payment.process_time,
        refund_version: 0,
        tender: payment.at_till.as_ref().map(|paid| paid.tender.clone()),
        transaction_id: payment.at_till.as_ref().map(|paid| paid.transaction_id.clone()),
        till: payment.at_till.as_ref().map(|paid| paid.till.clone()),
        local_date: payment.at_till.as_ref().and_then(|paid| paid.local_date),
    };
    (row, written.payments().iter().map(payment).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_stored_is_read_again(
        record in records(), ids in any::<[u128; 3]>(), return_uri in ".{0,40}", create_time in times(),
        customer in Just("ada"), number in any::<[u8; 8]>(),
    ) {
        let [purchase_id, showtime_id, reservation_id] = ids.map(Uuid::from_u128);
        let facts = PurchaseFacts {
            purchase_id: PurchaseId(purchase_id),
            number: PurchaseNumber::of(number),
            customer_id: CustomerId::restore(customer),
            showtime_id: ShowtimeId(showtime_id),
            reservation_id: ReservationId(reservation_id),
            return_uri,
            create_time,
        };
        let written = Purchase::restore(facts, record);
        let (row, payments) = rows(&written);
        prop_assert_eq!(purchase(row, payments).expect("the rows are readable"), written);
    }
}

#[test]
fn rows_that_cannot_be_read_are_named() {
    let purchase_row = || {
        let facts = PurchaseFacts {
            purchase_id: PurchaseId(Uuid::from_u128(7)),
            number: PurchaseNumber::of([1; 8]),
            customer_id: CustomerId::restore("ada"),
            showtime_id: ShowtimeId(Uuid::nil()),
            reservation_id: ReservationId(Uuid::nil()),
            return_uri: String::new(),
            create_time: DateTime::UNIX_EPOCH,
        };
        let amount = Money { currency: Currency::parse("EUR").expect("a currency"), minor: 1 };
        let payment = Payment {
            payment_id: PaymentId(Uuid::from_u128(8)),
            method: PaymentMethod::Other,
            token: String::new(),
            amount,
            refunded_minor: 0,
            state: PaymentState::Pending,
            decline_code: String::new(),
            create_time: DateTime::UNIX_EPOCH,
            process_time: None,
            at_till: None,
        };
        rows(&Purchase::begin(facts, amount, payment))
    };
    let named = |result: Result<Purchase, Error>, id: u128| {
        let error = result.expect_err("it cannot be read").to_string();
        assert!(error.contains(&Uuid::from_u128(id).to_string()), "{error}");
    };
    let (row, payments) = purchase_row();
    named(purchase(purchase::Model { currency: "ZZZ".to_owned(), ..row.clone() }, payments.clone()), 7);
    named(purchase(purchase::Model { detail: vec![255; 9], ..row.clone() }, payments.clone()), 7);
    named(purchase(purchase::Model { detail: Vec::new(), ..row.clone() }, payments.clone()), 7);
    let unknown = payment::Model { state: "gone".to_owned(), ..payments[0].clone() };
    named(purchase(row, vec![unknown]), 8);
}
