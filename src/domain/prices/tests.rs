//! Price lists, and the lines of reservations.

use super::*;

fn list(tax_basis_points: i32) -> PriceList {
    let of = |code: &str, minor| TicketType { code: code.to_owned(), name: code.to_uppercase(), minor };
    PriceList {
        currency: Currency::parse("EUR").unwrap(),
        ticket_types: vec![of("adult", 1_200), of("child", 800)],
        supplements: vec![(SeatKind::Premium, 350)],
        fee: 50,
        tax_basis_points,
    }
}

fn tickets(counts: &[(&str, u16)]) -> Vec<TicketCount> {
    counts.iter().map(|(code, count)| TicketCount { code: (*code).to_owned(), count: *count }).collect()
}

fn standard(count: usize) -> impl ExactSizeIterator<Item = SeatKind> {
    std::iter::repeat_n(SeatKind::Standard, count)
}

#[test]
fn tickets_are_given_from_left_to_right() {
    let kinds = [SeatKind::Standard, SeatKind::Premium, SeatKind::Standard];
    let lines = list(0).lines(&tickets(&[("child", 2), ("adult", 1)]), kinds.into_iter());
    let read: Vec<_> = lines.iter().map(|line| (line.ticket_type, line.price, line.supplement, line.total())).collect();
    assert_eq!(read, [(1, 800, 0, 850), (1, 800, 350, 1_200), (0, 1_200, 0, 1_250)]);
    assert_eq!(lines.total(), 3_300);
    // Without tickets each seat is of the first type.
    let all: Vec<_> = list(0).lines(&[], standard(2)).iter().map(|line| line.total()).collect();
    assert_eq!(all, [1_250, 1_250]);
}

#[test]
fn tickets_that_are_unknown_or_of_another_number_are_refused_by_name() {
    let refused = |counts: &[(&str, u16)]| list(0).check_tickets(&tickets(counts), 2).unwrap_err();
    let unknown = refused(&[("adult", 1), ("senior", 1)]);
    assert_eq!(unknown.kind, BadKind::TicketTypeUnknown);
    assert_eq!(unknown.violations.list()[0].field, "ticket_types[1].code");
    assert!(unknown.violations.list()[0].description.contains("adult, child"));
    assert_eq!(refused(&[("adult", 1)]).kind, BadKind::TicketTypesDiffer);
    assert_eq!(refused(&[("adult", 1), ("child", 2)]).kind, BadKind::TicketTypesDiffer);
}

#[test]
fn tax_is_contained_and_rounded_half_to_even() {
    // 2,100 basis points: 21 of 121.
    for (total, tax) in [(121, 21), (1_210, 210), (0, 0), (1, 0), (3, 1)] {
        assert_eq!(contained(total, 2_100), tax, "{total}");
    }
    // All of the net price, so half of the total: ties.
    for (total, tax) in [(1, 0), (3, 2), (5, 2), (7, 4)] {
        assert_eq!(contained(total, WHOLE), tax, "{total}");
    }
}

#[test]
fn a_list_of_one_price_has_plain_lines() {
    let plain = PriceList::plain(Money::price("JPY", 1_800, 0).unwrap());
    assert!(plain.is_plain() && !list(0).is_plain());
    let lines = plain.lines(&[], standard(3));
    assert_eq!(lines, Lines::plain(3, 5_400));
    assert_eq!((lines.total(), lines.iter().count()), (5_400, 3));
    assert_eq!(plain.lines(&tickets(&[("standard", 3)]), standard(3)), lines);
}

#[test]
fn every_flaw_of_a_list_is_named() {
    assert_eq!(list(700).check(), Ok(()));
    let mut flawed = list(-1);
    flawed.ticket_types[0].code = "Adult".to_owned();
    flawed.ticket_types[1].name = " child".to_owned();
    flawed.ticket_types.push(TicketType { code: "child".to_owned(), name: "Child".to_owned(), minor: 1 });
    let found = flawed.check().unwrap_err();
    let fields: Vec<_> = found.list().iter().map(|one| one.field.as_str()).collect();
    assert_eq!(fields, ["ticket_types[0].code", "ticket_types[1].name", "ticket_types[2].code", "tax_basis_points"]);
    assert_eq!(PriceList { ticket_types: Vec::new(), ..list(0) }.check().unwrap_err().list().len(), 1);
}
