//! The books balance in currencies of 0, 2 and 3 decimals, with fees and taxes, whatever is sold and given back.

use boxoffice::pb::{
    boxoffice::v1::{
        CreateShowtimeRequest, ListStuckRefundsRequest, PriceList, Purchase, PurchaseState, Refund, RefundOutcome,
        RefundPaymentRequest, SettleRefundRequest, Showtime,
    },
    google::r#type::Money,
};

use crate::{
    harness::{
        Server, eventually, in_hours,
        money::{assert_balanced, minor},
        purchases::{buy, of_seats, receipt},
        requests::{money, ticket_type},
        sales::{Dice, cancel_showtime},
        seats::{HALL, confirm, name, reserve, showtime_with, these},
        shop::Shop,
        staff::{exchange, release},
    },
    refunds::{all, of_these, payment, refund, reservation, until_ended},
};

/// What a ticket costs, with a fee and a tax. Written by hand, so that the service is compared with something else than itself.
struct Prices {
    price: Money,
    fee: Money,
    tax_basis_points: i32,
}

fn prices() -> [Prices; 3] {
    [
        Prices { price: money("JPY", 1_900, 0), fee: money("JPY", 150, 0), tax_basis_points: 1_000 },
        Prices { price: money("EUR", 12, 500_000_000), fee: money("EUR", 0, 750_000_000), tax_basis_points: 2_100 },
        Prices { price: money("KWD", 4, 755_000_000), fee: money("KWD", 0, 250_000_000), tax_basis_points: 500 },
    ]
}

/// What each account has of something.
#[derive(Clone, Copy)]
struct Parts {
    total: i64,
    sales: i64,
    fees: i64,
    tax: i64,
}

impl Prices {
    async fn showtime(&self, server: &Server) -> Showtime {
        let list = PriceList {
            ticket_types: vec![ticket_type("adult", "Adult", self.price.clone())],
            fee: Some(self.fee.clone()),
            tax_basis_points: self.tax_basis_points,
            ..PriceList::default()
        };
        let with_list = |request| CreateShowtimeRequest { price: None, price_list: Some(list), ..request };
        showtime_with(server, &HALL, in_hours(0), with_list).await
    }

    /// The tax in an amount, rounded half to even.
    fn tax_in(&self, amount: i64) -> i64 {
        let points = i64::from(self.tax_basis_points);
        let (parts, whole) = (amount * points, 10_000 + points);
        let (down, rest) = (parts / whole, parts % whole);
        down + i64::from(2 * rest > whole || 2 * rest == whole && down % 2 == 1)
    }

    fn ticket(&self) -> Parts {
        let (price, fee) = (minor(Some(&self.price)), minor(Some(&self.fee)));
        let total = price + fee;
        let tax = self.tax_in(total);
        let tax_in_fee = tax * fee / total;
        Parts { total, sales: price - (tax - tax_in_fee), fees: fee - tax_in_fee, tax }
    }
}

/// The accounts after so many tickets, of which this amount was given back for no seat.
fn accounts(ticket: Parts, count: i64, given_back: i64) -> Vec<(&'static str, i64)> {
    let Parts { total, sales, fees, tax } = ticket;
    let accounts = [
        ("fees", -fees * count),
        ("gateway", total * count - given_back),
        ("refunds", given_back),
        ("sales", -sales * count),
        ("tax", -tax * count),
    ];
    accounts.into_iter().filter(|(_, minor)| *minor != 0).collect()
}

in_both_shops!(fees_and_taxes_are_in_the_books_and_on_the_receipt, any_history_balances);

async fn fees_and_taxes_are_in_the_books_and_on_the_receipt(mut shop: Shop) {
    for prices in prices() {
        let (ticket, server) = (prices.ticket(), &shop.server);
        let showtime = prices.showtime(server).await;
        let bought = buy(server, of_seats(&showtime, "ada", "A1 A2 A3", "tok_ok")).await.expect("they are free");
        assert_eq!(minor(bought.total.as_ref()), 3 * ticket.total);
        shop.assert_books(&accounts(ticket, 3, 0)).await;

        refund(server, of_these(&bought, "A2")).await.expect("it was paid");
        until_ended(server, &bought, 1).await;
        shop.assert_books(&accounts(ticket, 2, 0)).await;

        // The fee of a seat is given back, and the seat stays sold.
        let back = minor(Some(&prices.fee));
        let amount = RefundPaymentRequest { amount: Some(prices.fee.clone()), ..all(&bought) };
        refund(server, amount).await.expect("it was paid");
        until_ended(server, &bought, 2).await;
        shop.assert_books(&accounts(ticket, 2, back)).await;
        let receipt = receipt(server, &bought).await.expect("it is completed");
        let vat = receipt.vat.first().expect("there is a tax");
        let of = |money: &Option<Money>| minor(money.as_ref());
        let (gross, tax) = (2 * ticket.total - back, 2 * ticket.tax - prices.tax_in(back));
        assert_eq!((of(&vat.gross), of(&vat.tax), of(&vat.net)), (gross, tax, gross - tax), "{}", receipt.text);
        assert_eq!((of(&receipt.total), of(&receipt.refunded)), (3 * ticket.total, ticket.total + back));

        // The rest of the money goes back with the rest of the seats, and nothing is left on any account.
        release(server, reservation(&bought), "").await.expect("they are sold");
        until_ended(server, &bought, 3).await;
        shop.assert_books(&[]).await;
        let receipt = crate::harness::purchases::receipt(server, &bought).await.expect("it is completed");
        let vat = receipt.vat.first().expect("there is a tax");
        assert_eq!((of(&vat.gross), of(&vat.tax), of(&vat.net)), (0, 0, 0), "{}", receipt.text);
        shop = shop.assert_audit().await;
    }
}

/// The VAT of a receipt is that of what was not given back.
async fn assert_receipt(server: &Server, sold: &Purchase) {
    let (receipt, payment) = (receipt(server, sold).await.expect("it is completed"), payment(server, sold).await);
    let of = |money: &Option<Money>| minor(money.as_ref());
    let vat = receipt.vat.first().expect("there is a tax");
    let kept = of(&payment.amount) - of(&payment.refunded_amount);
    assert_eq!((of(&vat.gross), of(&vat.net) + of(&vat.tax)), (kept, kept), "{}", receipt.text);
    assert!((0..=kept).contains(&of(&vat.tax)), "{}", receipt.text);
}

/// Random sales by the gateway and at tills, refunds, releases, exchanges, and refunds that the gateway refuses and the cinema keeps.
async fn any_history_balances(shop: Shop) {
    let server = &shop.server;
    let mut dice = Dice::new(17);
    for prices in prices() {
        let showtimes = [prices.showtime(server).await, prices.showtime(server).await];
        let mut made: Vec<Purchase> = Vec::new();
        for step in 0..60 {
            let chosen = made.get(dice.below(made.len())).cloned();
            match (dice.below(10), chosen) {
                (0, Some(sold)) => drop(refund(server, all(&sold)).await),
                (1..3, Some(sold)) => {
                    let seats = &reservation(&sold).seats;
                    drop(refund(server, of_these(&sold, &name(&seats[dice.below(seats.len())]))).await);
                }
                (3, Some(sold)) => {
                    let amount = Some(prices.fee.clone());
                    drop(refund(server, RefundPaymentRequest { amount, ..all(&sold) }).await);
                }
                (4, Some(sold)) => {
                    let seats = &reservation(&sold).seats;
                    drop(release(server, reservation(&sold), &name(&seats[dice.below(seats.len())])).await);
                }
                (5, Some(sold)) => {
                    let count = reservation(&sold).seats.len();
                    let others: Vec<_> = (1..=count).map(|at| format!("D{}", at + dice.below(8 - count))).collect();
                    drop(exchange(server, reservation(&sold), &others.join(" ")).await);
                }
                _ => made.extend(sell(server, &showtimes[dice.below(2)], step, &mut dice).await),
            }
        }
        assert!(made.len() > 5, "{}", made.len());
        keep_what_is_refused(server, &made).await;
        for sold in &made {
            assert_receipt(server, sold).await;
        }
        // The showtimes are cancelled, and what is left is given back.
        for showtime in &showtimes {
            cancel_showtime(server, showtime).await;
        }
        keep_what_is_refused(server, &made).await;
        for sold in &made {
            assert_receipt(server, sold).await;
        }
        pay_out(server, &made).await;
    }
    assert_balanced(&shop.storage.connect().await, &shop.gateway).await;
    shop.assert_audit().await;
}

/// What waits for a till is paid out there.
async fn pay_out(server: &Server, made: &[Purchase]) {
    for sold in made {
        let open = |refund: &&Refund| refund.end_time.is_none();
        for _ in payment(server, sold).await.refunds.iter().filter(open) {
            refund(server, all(sold)).await.expect("it waits for a till");
        }
        let is_paid_out = async || payment(server, sold).await.refunds.iter().all(|one| !open(&one)).then_some(());
        eventually("the till has paid it out", is_paid_out).await;
        assert_receipt(server, sold).await;
    }
}

/// Sells some seats by the gateway or at a till, if they are free.
async fn sell(server: &Server, showtime: &Showtime, step: usize, dice: &mut Dice) -> Option<Purchase> {
    let (row, first) = (["A", "B"][dice.below(2)], 1 + 2 * dice.below(4));
    let wanted: Vec<_> = (first..=first + dice.below(2)).map(|number| format!("{row}{number}")).collect();
    let (customer, wanted) = (format!("customer {step}"), wanted.join(" "));
    let token = ["tok_ok", "tok_refund_fails", "tok_capture_fails", "till"][dice.below(4)];
    if token == "till" {
        let held = reserve(server, these(showtime, &customer, &wanted)).await.ok()?;
        let sold = confirm(server, &held).await.expect("it is held");
        let named = Purchase { purchase_id: sold.purchase_id, ..Purchase::default() };
        return Some(crate::harness::purchases::purchase(server, &named).await);
    }
    let bought = buy(server, of_seats(showtime, &customer, &wanted, token)).await.ok()?;
    (bought.state() == PurchaseState::Completed).then_some(bought)
}

/// Waits for all refunds, and settles those that are stuck: the cinema keeps the money.
async fn keep_what_is_refused(server: &Server, made: &[Purchase]) {
    eventually("no refund is under way", async || {
        let stuck = server.operations().list_stuck_refunds(ListStuckRefundsRequest::default()).await;
        for one in stuck.expect("a list").into_inner().refunds {
            let settle = SettleRefundRequest {
                refund_id: one.refund.expect("it has the refund").refund_id,
                outcome: RefundOutcome::Failed.into(),
                note: "the fee is kept".to_owned(),
                till: String::new(),
            };
            server.operations().settle_refund(settle).await.expect("it is stuck");
        }
        for purchase in made {
            let found = payment(server, purchase).await;
            // Nobody stands at the till when a showtime is cancelled.
            let waits = |refund: &Refund| refund.message == "to be paid out at a till";
            let is_open = |refund: &Refund| refund.end_time.is_none() && !waits(refund);
            if found.refunds.iter().any(is_open) {
                return None;
            }
        }
        Some(())
    })
    .await;
}
