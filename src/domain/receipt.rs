//! Receipts of purchases, as text and as HTML.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::{
    html::escaped,
    money::Money,
    prices::PriceList,
    purchase::{PaymentMethod, Purchase, PurchaseState},
    refund::{Refund, RefundState},
    reservation::{Reservation, State},
    seating::ShowtimePlan,
};

/// The width of a receipt as text.
const WIDTH: usize = 48;

/// What a customer has paid, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The number of the purchase.
    pub number: String,
    /// When the purchase was completed.
    pub issue_time: DateTime<Utc>,
    /// Where and what.
    pub heading: Vec<String>,
    /// One for each seat.
    pub lines: Vec<ReceiptLine>,
    /// The tax of what was not given back, by rate.
    pub vat: Vec<Vat>,
    /// What all seats cost.
    pub total: Money,
    /// What was given back of it.
    pub refunded: Money,
    /// How it was paid.
    pub method: &'static str,
    time_zone: Tz,
}

/// What one seat was sold for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptLine {
    /// The seat and the ticket type, as in "F7 Adult".
    pub text: String,
    /// What it cost.
    pub total: Money,
    /// Whether it was given back.
    pub released: bool,
}

/// The tax at one rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vat {
    /// The rate in basis points.
    pub basis_points: i32,
    /// What remains without the tax.
    pub net: Money,
    /// The tax.
    pub tax: Money,
    /// Both together.
    pub gross: Money,
}

impl Receipt {
    /// The receipt of a purchase that is completed. `None`: it is not.
    #[must_use]
    pub fn of(purchase: &Purchase, refunds: &[Refund], reservation: &Reservation, plan: &ShowtimePlan) -> Option<Self> {
        let payment = purchase.payment()?;
        let issue_time = purchase.complete_time().filter(|_| purchase.state() == PurchaseState::Completed)?;
        let (facts, prices) = (&plan.facts, &plan.facts.prices);
        let (auditorium, zone) = (&facts.auditorium, facts.auditorium.time_zone);
        // A showtime that was cancelled has given all seats up.
        let is_sold = matches!(reservation.state(), State::Confirmed(_));
        let lines = reservation.all_lines().map(|(one, line)| {
            let ticket_type = prices.ticket_types.get(usize::from(line.ticket_type));
            let name = ticket_type.map(|ticket_type| ticket_type.name.as_str()).filter(|name| !name.is_empty());
            let text = [Some(plan.seat_index.name(one.seat).to_string()), name.map(str::to_owned)];
            let text = text.into_iter().flatten().collect::<Vec<_>>().join(" ");
            ReceiptLine { text, total: prices.money(line.total()), released: one.released || !is_sold }
        });
        let (gross, tax) = remaining(prices, refunds, reservation);
        let vat = Vat {
            basis_points: prices.tax_basis_points,
            net: prices.money(gross - tax),
            tax: prices.money(tax),
            gross: prices.money(gross),
        };
        let start = facts.start_time.with_timezone(&zone).format("%Y-%m-%d %H:%M");
        Some(Self {
            number: purchase.facts.number.to_string(),
            issue_time,
            heading: vec![
                [auditorium.cinema.as_str(), auditorium.name.as_str()].join(", "),
                format!("{}, {start}", facts.movie.value.title),
            ],
            lines: lines.collect(),
            vat: if vat.basis_points == 0 { Vec::new() } else { vec![vat] },
            total: reservation.total(),
            refunded: Money { minor: payment.refunded_minor, ..payment.amount },
            method: method_name(payment.method),
            time_zone: zone,
        })
    }

    /// The receipt as text, in lines of at most 48 characters unless a name is longer.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in self.heading.iter().map(String::as_str) {
            let _written = writeln!(text, "{line}");
        }
        let _written = writeln!(text, "Purchase {}, {}\n", self.number, self.issued());
        for (left, right) in self.rows() {
            let gap = WIDTH.saturating_sub(left.chars().count() + right.chars().count()).max(1);
            let _written = writeln!(text, "{left}{}{right}", " ".repeat(gap));
        }
        text
    }

    /// The receipt as an HTML fragment.
    #[must_use]
    pub fn html(&self) -> String {
        let mut html = String::from("<section class=\"receipt\">\n");
        for line in &self.heading {
            let _written = writeln!(html, "<p>{}</p>", escaped(line));
        }
        let _written = writeln!(html, "<p>Purchase {}, {}</p>\n<table>", escaped(&self.number), self.issued());
        for (left, right) in self.rows() {
            let _written = writeln!(html, "<tr><td>{}</td><td>{}</td></tr>", escaped(&left), escaped(&right));
        }
        html.push_str("</table>\n</section>\n");
        html
    }

    fn issued(&self) -> String {
        self.issue_time.with_timezone(&self.time_zone).format("%Y-%m-%d %H:%M").to_string()
    }

    /// What is written beside each other.
    fn rows(&self) -> Vec<(String, String)> {
        let mut rows: Vec<_> = self.lines.iter().map(ReceiptLine::row).collect();
        rows.push(("Total".to_owned(), self.total.to_string()));
        if self.refunded.minor != 0 {
            rows.push(("Given back".to_owned(), format!("-{}", self.refunded)));
        }
        rows.push((format!("Paid by {}", self.method), String::new()));
        for vat in &self.vat {
            let rate = format!("VAT {} of {}", percent(vat.basis_points), vat.gross);
            rows.push((rate, vat.tax.to_string()));
        }
        rows
    }
}

impl ReceiptLine {
    fn row(&self) -> (String, String) {
        let given_back = if self.released { " (given back)" } else { "" };
        (format!("{}{given_back}", self.text), self.total.to_string())
    }
}

/// What was not given back, and the tax in it. A refund gives back the tax of its seats, and that which the rest of it contains.
fn remaining(prices: &PriceList, refunds: &[Refund], reservation: &Reservation) -> (i64, i64) {
    let split = reservation.lines().split();
    let (mut gross, mut tax) = (split.total(), split.tax);
    for refund in refunds.iter().filter(|refund| refund.state() == RefundState::Done) {
        let chosen = &refund.facts.chosen;
        // Less than nothing, if the seats were given up when less was left of the payment.
        let rest = chosen.amount.minor - chosen.split.total();
        gross -= chosen.amount.minor;
        tax -= chosen.split.tax + prices.tax_in(rest.abs()) * rest.signum();
    }
    // The tax of each part is rounded, so what all of them have together may differ from the tax in the sum.
    (gross, tax.clamp(0, gross.max(0)))
}

/// "10 %", or "5.5 %".
fn percent(basis_points: i32) -> String {
    let (whole, rest) = (basis_points / 100, basis_points % 100);
    let text =
        if rest == 0 { whole.to_string() } else { format!("{whole}.{rest:02}").trim_end_matches('0').to_owned() };
    format!("{text} %")
}

fn method_name(method: PaymentMethod) -> &'static str {
    match method {
        PaymentMethod::CreditCard => "credit card",
        PaymentMethod::DebitCard => "debit card",
        PaymentMethod::PayPal => "PayPal",
        PaymentMethod::ApplePay => "Apple Pay",
        PaymentMethod::GooglePay => "Google Pay",
        PaymentMethod::BankTransfer => "bank transfer",
        PaymentMethod::Cash => "cash",
        PaymentMethod::Other => "another method",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Currency;

    #[test]
    fn rates_are_written_without_needless_digits() {
        assert_eq!([0, 700, 550, 2_125].map(percent), ["0 %", "7 %", "5.5 %", "21.25 %"]);
    }

    #[test]
    fn a_receipt_adds_up_in_text_and_in_html() {
        let euros = |minor| Money { currency: Currency::parse("EUR").expect("a currency"), minor };
        let receipt = Receipt {
            number: "C0H92YVC1S".to_owned(),
            issue_time: DateTime::from_timestamp(1_800_000_000, 0).expect("a time"),
            heading: vec!["Grand Palace, Screen 1".to_owned(), "<b>Tom & Jerry</b>, 2027-01-15 20:00".to_owned()],
            lines: vec![
                ReceiptLine { text: "N11 Adult".to_owned(), total: euros(1_200), released: false },
                ReceiptLine { text: "N12 Child".to_owned(), total: euros(900), released: true },
            ],
            vat: vec![Vat { basis_points: 1_000, net: euros(1_091), tax: euros(109), gross: euros(1_200) }],
            total: euros(2_100),
            refunded: euros(900),
            method: "credit card",
            time_zone: Tz::Europe__Madrid,
        };
        let text = "\
Grand Palace, Screen 1
<b>Tom & Jerry</b>, 2027-01-15 20:00
Purchase C0H92YVC1S, 2027-01-15 09:00

N11 Adult                              12.00 EUR
N12 Child (given back)                  9.00 EUR
Total                                  21.00 EUR
Given back                             -9.00 EUR
Paid by credit card\x20
VAT 10 % of 12.00 EUR                   1.09 EUR
";
        let written: Vec<_> = receipt.text().lines().map(|line| line.trim_end().to_owned()).collect();
        let expected: Vec<_> = text.lines().map(|line| line.trim_end().to_owned()).collect();
        assert_eq!(written, expected);
        let html = receipt.html();
        assert!(html.contains("<p>&lt;b&gt;Tom &amp; Jerry&lt;/b&gt;, 2027-01-15 20:00</p>"), "{html}");
        assert!(html.contains("<tr><td>Total</td><td>21.00 EUR</td></tr>"), "{html}");
    }
}
