//! The books balance, `boxoffice audit` says so, and it finds what is wrong with them.

use boxoffice::pb::{
    boxoffice::v1::PurchaseState,
    google::r#type::Money,
    payments::v1::{AuthorizeRequest, CaptureRequest, gateway_client::GatewayClient},
};

use crate::harness::{
    purchases::{buy, card, continue_with, give_up, of_seats, until_state},
    request_id,
    seats::showtime,
    server::binary,
    shop::{WrongShop, audit},
    supervisor,
    wrong_gateway::Wrong,
};

impl WrongShop {
    /// Two purchases are completed and two compensated, one after its sale.
    async fn sell(&self) {
        let showtime = showtime(&self.server).await;
        for (seat, token, state) in [
            ("A1", "tok_ok", PurchaseState::Completed),
            ("A3", "tok_ok", PurchaseState::Completed),
            ("A5", "tok_capture_fails", PurchaseState::Compensated),
        ] {
            let begun = buy(&self.server, of_seats(&showtime, "ada", seat, token)).await.expect("it begins");
            until_state(&self.server, &begun, state).await;
        }
        let waits = buy(&self.server, of_seats(&showtime, "bob", "B1", "tok_action_required")).await;
        let waits = waits.expect("it begins");
        give_up(&self.server, &waits).await.expect("it waits");
        until_state(&self.server, &waits, PurchaseState::Compensated).await;
    }

    /// Runs the audit. Returns its exit code and what it printed.
    async fn audit(&self) -> (Option<i32>, String) {
        audit(&self.storage, &self.gateway).await
    }

    async fn assert_finds(&self, what: &str) {
        let (code, printed) = self.audit().await;
        assert_eq!(code, Some(1), "{printed}");
        assert!(printed.contains("the books do not balance"), "{printed}");
        let found = printed.lines().any(|line| line.contains("finding: ") && line.contains(what));
        assert!(found, "{what} is missing:\n{printed}");
    }

    async fn sql(&self, statement: &str) {
        let changed = self.storage.sql(statement).await.expect("the statement is right").rows_affected();
        assert!(changed > 0, "{statement}");
    }
}

in_both_shops!(WrongShop:
    books_that_balance_are_said_to_balance,
    purchases_that_are_stuck_are_counted_and_not_judged,
    what_is_wrong_with_the_books_is_found,
    tickets_without_a_sale_and_sales_without_tickets_are_found,
    what_the_gateway_says_otherwise_is_found,
    what_the_gateway_keeps_for_a_purchase_that_was_undone_is_found,
    a_second_charge_for_a_purchase_is_found,
);

async fn books_that_balance_are_said_to_balance(mut shop: WrongShop) {
    shop.sell().await;
    if !shop.storage.is_postgres() {
        let (code, printed) = shop.audit().await;
        assert_eq!(code, Some(1), "{printed}");
        assert!(printed.contains("is in use by another process"), "{printed}");
        shop.server.stop().await;
    }
    let (code, printed) = shop.audit().await;
    assert_eq!(code, Some(0), "{printed}");
    for part in ["2 completed, 2 compensated", "refunded 0.00 EUR", "4 payments compared", "the books balance"] {
        assert!(printed.contains(part), "{part} is missing:\n{printed}");
    }
    shop.gateway.kill();
    let (code, printed) = shop.audit().await;
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("not compared with it: ") && printed.contains("the books balance"), "{printed}");
}

async fn purchases_that_are_stuck_are_counted_and_not_judged(shop: WrongShop) {
    let showtime = showtime(&shop.server).await;
    shop.wrong.set(Wrong::CapturedAmount);
    let begun = buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_ok")).await.expect("it begins");
    until_state(&shop.server, &begun, PurchaseState::Stuck).await;
    buy(&shop.server, of_seats(&showtime, "bob", "A3", "tok_action_required")).await.expect("it begins");
    shop.server.stop().await;
    let (code, printed) = shop.audit().await;
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("0 completed, 0 compensated; not judged: 1 running, 1 stuck"), "{printed}");
}

/// Changes of the database, each with the one that undoes it and what the audit says in between.
fn changes(completed: &str, reservation: &str) -> Vec<(String, String, &'static str)> {
    vec![
        (
            "UPDATE money_entries SET minor = minor + 1 WHERE account = 'sales'".to_owned(),
            "UPDATE money_entries SET minor = minor - 1 WHERE account = 'sales'".to_owned(),
            "the entries of capture add up to 0.01 EUR, not to nothing",
        ),
        (
            "UPDATE payments SET amount_minor = amount_minor + 1 WHERE state = 'completed'".to_owned(),
            "UPDATE payments SET amount_minor = amount_minor - 1 WHERE state = 'completed'".to_owned(),
            "was taken, and the books have",
        ),
        (
            "UPDATE payments SET refunded_minor = 7 WHERE state = 'completed'".to_owned(),
            "UPDATE payments SET refunded_minor = 0 WHERE state = 'completed'".to_owned(),
            "0.07 EUR was given back, and the books have 0.00 EUR",
        ),
        (
            "UPDATE money_entries SET account = 'refunds' WHERE account = 'sales'".to_owned(),
            "UPDATE money_entries SET account = 'sales' WHERE account = 'refunds'".to_owned(),
            "the books have 0.00 EUR for its seats, and they cost 9.50 EUR",
        ),
        (
            "UPDATE tickets SET state = 'unpaid' WHERE state = 'issued'".to_owned(),
            "UPDATE tickets SET state = 'issued' WHERE state = 'unpaid'".to_owned(),
            "has ended, and 1 of its tickets wait for the money",
        ),
        (
            "UPDATE tickets SET seat = seat + 1 WHERE state = 'issued'".to_owned(),
            "UPDATE tickets SET seat = seat - 1 WHERE state = 'issued'".to_owned(),
            "1 seats are sold, and its 1 tickets are not those of these seats",
        ),
        (
            "UPDATE payments SET state = 'declined' WHERE state = 'completed'".to_owned(),
            "UPDATE payments SET state = 'completed' WHERE state = 'declined'".to_owned(),
            "is Declined, and has entries",
        ),
        (
            "UPDATE payments SET state = 'authorized' WHERE state = 'voided'".to_owned(),
            "UPDATE payments SET state = 'voided' WHERE state = 'authorized'".to_owned(),
            "is Authorized, and its purchase has ended",
        ),
        (
            format!("UPDATE reservations SET purchase_id = NULL WHERE reservation_id = {reservation}"),
            format!("UPDATE reservations SET purchase_id = {completed} WHERE reservation_id = {reservation}"),
            "has taken money, and no seats were sold under purchase",
        ),
        (
            "UPDATE purchases SET state = 'compensated' WHERE state = 'completed'".to_owned(),
            "UPDATE purchases SET state = 'completed' WHERE EXISTS (SELECT 1 FROM payments p WHERE p.purchase_id = \
             purchases.purchase_id AND p.state = 'completed')"
                .to_owned(),
            "is compensated, and its seats are sold",
        ),
        (
            "UPDATE payments SET state = 'voided', purchase_id = purchase_id WHERE state = 'completed'".to_owned(),
            "UPDATE payments SET state = 'completed' WHERE payment_id IN (SELECT payment_id FROM money_entries)"
                .to_owned(),
            "is completed with 0 payments that took money, not with one",
        ),
    ]
}

async fn what_is_wrong_with_the_books_is_found(shop: WrongShop) {
    shop.sell().await;
    shop.server.stop().await;
    assert_eq!(shop.audit().await.0, Some(0));
    // Each change is undone by the statement after it.
    let completed = "(SELECT purchase_id FROM purchases WHERE state = 'completed' ORDER BY purchase_id LIMIT 1)";
    let reservation = format!("(SELECT reservation_id FROM purchases WHERE purchase_id = {completed})");
    for (change, undo, finding) in changes(completed, &reservation) {
        shop.sql(&change).await;
        shop.assert_finds(finding).await;
        shop.sql(&undo).await;
    }
    // A payment of which a part was given back is judged like one of which nothing was.
    shop.sql("UPDATE payments SET state = 'partially_refunded' WHERE state = 'completed'").await;
    assert_eq!(shop.audit().await.0, Some(0));
    shop.sql(&format!("UPDATE reservations SET purchase_id = NULL WHERE reservation_id = {reservation}")).await;
    shop.assert_finds("has taken money, and no seats were sold under purchase").await;
    shop.sql(&format!("UPDATE reservations SET purchase_id = {completed} WHERE reservation_id = {reservation}")).await;
    shop.sql("UPDATE payments SET state = 'completed' WHERE state = 'partially_refunded'").await;
    let (code, printed) = shop.audit().await;
    assert_eq!(code, Some(0), "{printed}");
    shop.sql("DELETE FROM payments WHERE payment_id IN (SELECT payment_id FROM money_entries)").await;
    shop.assert_finds("there are entries, and no such payment").await;
}

/// A sale that the service is about to make tickets for is counted only.
async fn tickets_without_a_sale_and_sales_without_tickets_are_found(shop: WrongShop) {
    shop.sell().await;
    shop.server.stop().await;
    let assert_awaited = async || {
        let (code, printed) = shop.audit().await;
        assert_eq!(code, Some(0), "{printed}");
        assert!(printed.contains("2 sales of a release without tickets have none yet"), "{printed}");
    };
    shop.sql("UPDATE tickets SET purchase_id = ticket_id").await;
    shop.assert_finds("there are tickets, and no such purchase").await;
    shop.sql("DELETE FROM tickets").await;
    assert_awaited().await;
    shop.sql("UPDATE purchases SET create_time = '2020-01-01T11:00:00+00:00'").await;
    assert_awaited().await;
    shop.sql("UPDATE signing_keys SET create_time = '2020-01-01T10:00:00+00:00'").await;
    shop.assert_finds("1 seats are sold, and it has no tickets").await;
}

async fn what_the_gateway_says_otherwise_is_found(mut shop: WrongShop) {
    shop.sell().await;
    shop.server.stop().await;
    // Another client of the gateway takes money, of which we know nothing.
    let (mut client, payment_key) = (GatewayClient::new(shop.gateway.channel()), request_id());
    let amount = Some(Money { currency_code: "EUR".to_owned(), units: 3, nanos: 0 });
    let authorize = AuthorizeRequest {
        payment_key: payment_key.clone(),
        operation_key: format!("{payment_key}/authorize"),
        amount: amount.clone(),
        method: "CREDIT_CARD".to_owned(),
        token: "tok_ok".to_owned(),
        return_uri: String::new(),
    };
    client.authorize(authorize).await.expect("it is authorised");
    assert_eq!(shop.audit().await.0, Some(0));
    let capture =
        CaptureRequest { payment_key: payment_key.clone(), operation_key: format!("{payment_key}/capture"), amount };
    client.capture(capture).await.expect("it is captured");
    shop.assert_finds(&format!("payment {payment_key}: the gateway has captured 3.00 EUR and it is not known here"))
        .await;
    // Both sides of the books, so that they balance.
    shop.sql("UPDATE money_entries SET minor = 2 * minor").await;
    shop.sql("UPDATE payments SET amount_minor = 2 * amount_minor WHERE state = 'completed'").await;
    shop.assert_finds("the books have").await;
    shop.sql("UPDATE money_entries SET minor = minor / 2").await;
    shop.sql("UPDATE payments SET amount_minor = amount_minor / 2 WHERE state = 'completed'").await;
    // The gateway has lost everything.
    shop.gateway.kill();
    std::fs::remove_file(shop.storage.folder().join("gateway/demo-gateway.log")).expect("the file is there");
    shop.gateway.restart().await;
    shop.assert_finds("was taken, and the gateway does not know it").await;
}

async fn what_the_gateway_keeps_for_a_purchase_that_was_undone_is_found(shop: WrongShop) {
    let showtime = showtime(&shop.server).await;
    shop.wrong.set(Wrong::VoidsNothing);
    let begun = buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_capture_fails")).await.expect("it begins");
    let undone = until_state(&shop.server, &begun, PurchaseState::Compensated).await;
    shop.server.stop().await;
    let id = &undone.payments[0].payment_id;
    shop.assert_finds(&format!("payment {id}: the gateway may still take 9.50 EUR, and it is Failed here")).await;
}

/// The gateway says that it has declined a payment, and has taken the money for it. The customer pays with another token.
async fn a_second_charge_for_a_purchase_is_found(shop: WrongShop) {
    let showtime = showtime(&shop.server).await;
    shop.wrong.set(Wrong::Declines);
    let declined = buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_ok")).await.expect("it begins");
    assert_eq!(declined.state(), PurchaseState::AwaitingCustomer, "{declined:#?}");
    shop.wrong.set(Wrong::Nothing);
    let bought = continue_with(&shop.server, &declined, Some(card("tok_ok"))).await.expect("it waits for a token");
    assert_eq!(bought.state(), PurchaseState::Completed, "{bought:#?}");
    shop.server.stop().await;
    let (payment_key, amount) = (declined.payments[0].payment_id.clone(), declined.total.clone());
    let found = format!("payment {payment_key}: the gateway may still take 9.50 EUR, and it is Declined here");
    shop.assert_finds(&found).await;
    let operation_key = format!("{payment_key}/capture");
    let found = format!("payment {payment_key}: the gateway has captured 9.50 EUR and it is Declined here");
    let capture = CaptureRequest { payment_key, operation_key, amount };
    GatewayClient::new(shop.gateway.channel()).capture(capture).await.expect("it is authorised");
    shop.assert_finds(&found).await;
}

#[tokio::test]
async fn the_audit_makes_no_database() {
    let folder = supervisor::folder("audit-");
    let failed = |arguments: &[&str]| {
        let output = binary().arg("audit").args(arguments).output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let file = folder.path().join("boxoffice.db");
    let printed = failed(&["--data-dir", folder.path().to_str().expect("a readable path")]);
    assert_eq!(printed, format!("boxoffice: {} cannot be used: no such file or directory\n", file.display()));
    assert!(!file.exists());
    let printed = failed(&["--database-url", "postgres://nobody@127.0.0.1:1/nothing"]);
    assert_eq!(printed, "boxoffice: Postgres at 127.0.0.1:1 cannot be used: connection refused\n");
}
