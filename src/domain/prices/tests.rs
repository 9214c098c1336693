//! Price lists, and the lines of reservations.

use proptest::{
    collection::vec,
    prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq},
    proptest,
    sample::{Index, select},
};

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

#[test]
fn sales_are_summed_by_ticket_type_in_the_order_of_the_list() {
    let mut four = list(2_100);
    let senior = TicketType { code: "senior".to_owned(), name: "Senior".to_owned(), minor: 950 };
    four.ticket_types.extend([senior.clone(), TicketType { code: "guest".to_owned(), minor: 0, ..senior }]);
    let kinds = [SeatKind::Standard, SeatKind::Premium, SeatKind::Standard, SeatKind::Standard];
    let lines = four.lines(&tickets(&[("guest", 1), ("adult", 2), ("child", 1)]), kinds.into_iter());
    let lines: Vec<_> = lines.iter().collect();
    let of = |ticket_type, seat_count, total, tax| TicketTypeSales { ticket_type, seat_count, total, tax };
    // 12 + 3.50 + 0.50 and 12 + 0.50 contain 2.78 and 2.17. Nobody is a senior.
    assert_eq!(by_ticket_type(&lines), [of(0, 2, 2_850, 495), of(1, 1, 850, 148), of(3, 1, 50, 9)]);
    let plain = PriceList::plain(Money::price("JPY", 1_800, 0).unwrap());
    let lines: Vec<_> = plain.lines(&[], standard(3)).iter().collect();
    assert_eq!(by_ticket_type(&lines), [of(0, 3, 5_400, 0)]);
    assert_eq!(by_ticket_type(&[]), []);
}

#[test]
fn other_seats_have_the_same_ticket_types_and_their_own_supplements() {
    let kinds = [SeatKind::Premium, SeatKind::Standard];
    let lines = list(700).lines(&tickets(&[("child", 1), ("adult", 1)]), kinds.into_iter());
    let other = list(700).lines_like(&lines, [SeatKind::Standard, SeatKind::Premium].into_iter());
    let read: Vec<_> = other.iter().map(|line| (line.ticket_type, line.supplement, line.total(), line.tax)).collect();
    assert_eq!(read, [(1, 0, 850, 56), (0, 350, 1_600, 105)]);
    let plain = PriceList::plain(Money::price("EUR", 9, 0).unwrap());
    assert_eq!(plain.lines_like(&lines, standard(2)), Lines::plain(2, 1_800));
}

const KINDS: [SeatKind; 4] = [SeatKind::Standard, SeatKind::Accessible, SeatKind::Companion, SeatKind::Premium];

/// Lists in currencies of 0, 2 and 3 decimal places, of one price or with all that a list may have.
fn lists() -> impl Strategy<Value = PriceList> {
    let amount = || 0..100_000_000_i64;
    let supplements = vec((select(KINDS.to_vec()), amount()), 0..4);
    let taxes = select(vec![0, 1, 700, 1_000, 2_100, 9_999, WHOLE]);
    (select(vec!["JPY", "EUR", "KWD"]), vec(amount(), 1..5), supplements, amount(), taxes).prop_map(
        |(code, prices, mut supplements, fee, tax_basis_points)| {
            supplements.sort_by_key(|(kind, _)| format!("{kind:?}"));
            supplements.dedup_by_key(|(kind, _)| *kind);
            let of = |(at, minor)| TicketType { code: format!("type-{at}"), name: "Type".to_owned(), minor };
            let ticket_types = prices.into_iter().enumerate().map(of).collect();
            PriceList { currency: Currency::parse(code).unwrap(), ticket_types, supplements, fee, tax_basis_points }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_sum_of_the_lines_is_the_total_and_taxes_are_rounded_to_the_nearest(
        (list, seats) in (lists(), vec((select(KINDS.to_vec()), any::<Index>()), 1..12)),
    ) {
        let kinds = || seats.iter().map(|(kind, _)| *kind);
        let types = seats.iter().map(|(_, index)| index.index(list.ticket_types.len()));
        let types: Vec<_> = types.collect();
        let wanted: Vec<_> =
            types.iter().map(|at| TicketCount { code: list.ticket_types[*at].code.clone(), count: 1 }).collect();
        prop_assert!(list.check_tickets(&wanted, seats.len() as u16).is_ok());
        let lines = list.lines(&wanted, kinds());
        let all: Vec<_> = lines.iter().collect();
        prop_assert_eq!(all.len(), seats.len());
        for ((line, kind), at) in all.iter().zip(kinds()).zip(&types) {
            let supplement = list.supplements.iter().filter(|(of, _)| *of == kind).map(|(_, minor)| *minor).sum::<i64>();
            let expected = (*at, list.ticket_types[*at].minor, supplement, list.fee);
            prop_assert_eq!((usize::from(line.ticket_type), line.price, line.supplement, line.fee), expected);
            prop_assert_eq!(line.total(), line.price + line.supplement + line.fee);
            // The tax is a whole number of the smallest units, and no other one is nearer to what is owed.
            let (whole, points) = (i128::from(WHOLE + list.tax_basis_points), i128::from(list.tax_basis_points));
            let missed = i128::from(line.tax) * whole - i128::from(line.total()) * points;
            prop_assert!(2 * missed.abs() <= whole && (2 * missed.abs() < whole || line.tax % 2 == 0), "{line:?}");
        }
        // As money, in units and billionths, nothing is lost, and the sum is the sum.
        let as_money = |minor| list.money(minor).units_and_nanos();
        let billionths = |(units, nanos): (i64, i32)| i128::from(units) * 1_000_000_000 + i128::from(nanos);
        let sum: i128 = all.iter().map(|line| billionths(as_money(line.total()))).sum();
        prop_assert_eq!(sum, billionths(as_money(lines.total())));
        for line in &all {
            let (units, nanos) = as_money(line.price);
            prop_assert_eq!(Money::price(list.currency.code(), units, nanos).map(|read| read.minor), Ok(line.price));
        }
        // So are the sales of each type.
        let sales = by_ticket_type(&all);
        prop_assert!(sales.is_sorted_by(|one, next| one.ticket_type < next.ticket_type), "{sales:?}");
        prop_assert_eq!(sales.iter().map(|of| of.seat_count).sum::<i32>(), seats.len() as i32);
        prop_assert_eq!(sales.iter().map(|of| of.total).sum::<i64>(), lines.total());
        prop_assert_eq!(sales.iter().map(|of| of.tax).sum::<i64>(), all.iter().map(|line| line.tax).sum::<i64>());
        for of in &sales {
            let own = || all.iter().filter(|line| line.ticket_type == of.ticket_type);
            prop_assert_eq!((of.seat_count, of.total), (own().count() as i32, own().map(Line::total).sum::<i64>()));
        }
        prop_assert_eq!(list.lines_like(&lines, kinds()), lines);
    }
}
