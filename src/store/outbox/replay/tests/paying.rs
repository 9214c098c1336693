//! Payments that are under way, as other instances replay them.

use super::*;

impl Writer {
    /// A payment that succeeds after it was given another time, one that is given up, and one that is under way.
    pub(super) fn pay_for_seats(&mut self, reserve: &impl Fn(u128, &str, std::ops::RangeInclusive<i32>) -> Command) {
        let purchase_id = PurchaseId(Uuid::from_u128(77));
        let pay = |number| Command::Pay {
            reservation_id: id(number),
            customer_id: None,
            purchase_id,
            span: Duration::from_mins(2),
        };
        self.decide(&reserve(9, "pat", 1..=1), 68);
        self.decide(&pay(9), 69);
        self.decide(&pay(9), 72);
        let (reservation_id, tender) = (id(9), Some(tender()));
        let purchase_id = Some(purchase_id);
        self.decide(&Command::Confirm { reservation_id, customer_id: None, tender, purchase_id, late: false }, 90);
        self.decide(&Command::Release { reservation_id: id(9), seats: Vec::new(), reason: "why".to_owned() }, 91);
        self.decide(&reserve(10, "sue", 2..=2), 91);
        self.decide(&pay(10), 92);
        self.decide(&Command::StopPayment { reservation_id: id(10), purchase_id: PurchaseId(Uuid::from_u128(77)) }, 93);
        self.decide(&reserve(11, "zoe", 2..=2), 94);
        let seats = vec![SeatName { row: RowLabel::parse("A").expect("a label"), number: 1 }];
        self.decide(&Command::Exchange { reservation_id: id(11), customer_id: None, seats }, 95);
        self.decide(&pay(11), 96);
    }
}

/// As they were first written: a payment that began, one that was given another time, and one of exchanged seats.
#[test]
fn payments_have_the_fourth_format_and_these_bytes() {
    let writer = Writer::with_every_change();
    for (row, expected) in PAYMENT_STEPS {
        let steps = Row::decode(&*writer.rows[row]).expect("a row");
        assert_eq!(steps.steps[0].format, 4, "row {row}");
        assert_eq!(steps.encode_to_vec(), bytes(expected), "row {row}");
    }
}

const PAYMENT_STEPS: [(usize, &str); 3] = [
    (
        23,
        "1241080410191880e6acb7f9f1b00322320a100000000000000000000000000000000918018a011b0a100000000000000000000000000000004d108082c9f0f9f1b003",
    ),
    (
        24,
        "12410804101a188090978dfaf1b00322320a100000000000000000000000000000000918018a011b0a100000000000000000000000000000004d1080acb3c6faf1b003",
    ),
    (
        32,
        "1243080410221880e0e9bbfff1b00322340a100000000000000000000000000000000b8a011b0a100000000000000000000000000000004d1080fc85f5fff1b00382010100",
    ),
];

#[test]
fn seats_that_are_paid_for_stay_held_where_the_steps_are_replayed() {
    let writer = Writer::with_every_change();
    let before_the_end = &writer.rows[..writer.rows.len() - 1];
    let (seating, map) = replayed(before_the_end);
    let paying = seating.reservation(id(11)).expect("it is known");
    let until = paying.pay_until().expect("a payment is under way");
    let (seat, now) = (usize::from(paying.seats().next().expect("a seat")), until + TimeDelta::days(1));
    assert_eq!(map.at(now).nth(seat), Some(Status::Paying { until }));
    assert_eq!(seating.next_lapse(), None);
    let sold = seating.reservation(id(9)).expect("it is known");
    assert_eq!((sold.purchase_id(), sold.sale().is_some()), (paying.purchase_id(), true));
    let ended = seating.reservation(id(10)).expect("it is known");
    assert_eq!((ended.purchase_id(), ended.sale()), (paying.purchase_id(), None));
}

#[test]
fn a_payment_that_cannot_be_read_is_not_replayed() {
    let writer = Writer::with_every_change();
    let (seating, _) = replayed(&writer.rows[..23]);
    let broken = |change: fn(&mut NewPayment)| {
        let mut row = Row::decode(&*writer.rows[23]).expect("a row");
        let Some(Kind::Paying(payment)) = &mut row.steps[0].changes[0].kind else { panic!("{row:?}") };
        change(payment);
        row.encode_to_vec()
    };
    assert!(replay(&mut seating.clone(), &broken(|_| {})), "as it was written");
    assert!(!replay(&mut seating.clone(), &broken(|payment| payment.purchase_id.clear())), "no purchase");
    assert!(!replay(&mut seating.clone(), &broken(|payment| payment.pay_until = i64::MAX)), "no time");
}
