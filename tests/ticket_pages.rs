//! The page on which tickets are printed: what is on it, what is not, and how Chromium draws it.

use std::{fs, path::Path, process::Command};

use boxoffice::{
    clock::Clock,
    pb::boxoffice::v1::{
        CreateShowtimeRequest, GetTicketPageRequest, Purchase, PurchaseState, PurchaseTicketsRequest, Showtime,
    },
};
use chrono::{SubsecRound as _, TimeDelta};
use rustix::process::Signal;
use tonic::Status;

use crate::{
    browsers::chromium,
    harness::{
        Server, Store, assert_not_found, assert_violates,
        clients::{installed, source},
        process::Process,
        purchases::{buy, of_seats, until_state},
        request_id,
        requests::{three_types, tickets as types},
        seats::showtime_with,
        shop::Shop,
        staff::{exchange, release},
        supervisor,
    },
    refunds::until_ended,
    tickets::{at_door, client, tickets, use_ticket},
};

in_both_shops!(
    a_page_has_what_a_guest_needs_and_nothing_else,
    a_page_says_how_many_tickets_it_leaves_out,
    a_page_is_for_one_purchase_or_one_ticket,
);

const CUSTOMER: &str = "customer-4711";

/// A showtime with open doors, whose names are to be escaped.
async fn premiere(server: &Server) -> Showtime {
    let soon = Clock::System.now().trunc_subsecs(0) + TimeDelta::minutes(30);
    let with_types = |mut request: CreateShowtimeRequest| {
        (request.price, request.price_list) = (None, Some(three_types()));
        request
    };
    showtime_with(server, &[("A", "ssssssss"), ("B", "ssssssss")], soon, with_types).await
}

async fn bought(server: &Server, showtime: &Showtime, names: &str, ticket_types: &str) -> Purchase {
    let ticket_types = types(ticket_types);
    let request = PurchaseTicketsRequest { ticket_types, ..of_seats(showtime, CUSTOMER, names, "tok_ok") };
    let begun = buy(server, request).await.expect("the seats are free");
    until_state(server, &begun, PurchaseState::Completed).await
}

async fn page(server: &Server, request: GetTicketPageRequest) -> Result<String, Status> {
    Ok(client(server).get_ticket_page(request).await?.into_inner().html)
}

fn of_purchase(purchase: &Purchase) -> GetTicketPageRequest {
    let (number, secret) = (purchase.number.clone(), purchase.secret.clone());
    GetTicketPageRequest { number, secret, ..GetTicketPageRequest::default() }
}

async fn a_page_has_what_a_guest_needs_and_nothing_else(shop: Shop) {
    let (server, showtime) = (&shop.server, premiere(&shop.server).await);
    let bought = bought(server, &showtime, "A1 A2", "adult 1 child 1").await;
    let made = tickets(server, &bought.purchase_id).await;
    let html = page(server, of_purchase(&bought)).await.expect("the secret is right");
    let about = made[0].showtime.as_ref().expect("a ticket has its showtime");
    let zone: chrono_tz::Tz = about.time_zone.parse().expect("a time zone");
    let start = crate::harness::seats::instant(about.start_time).with_timezone(&zone);
    let date = start.format("%A, %-d %B %Y").to_string();
    let time = format!("{} ({}, {})", start.format("%H:%M"), start.format("%Z"), about.time_zone);
    for needed in [
        "<!DOCTYPE html>\n<html lang=\"en\">",
        "<meta charset=\"utf-8\">",
        &about.movie_title,
        &about.cinema,
        &about.auditorium,
        &date,
        &time,
        ">A1<",
        ">A2<",
        "Adult",
        "Child up to 12",
        &made[0].number,
        &made[1].number,
        &bought.number,
        "<h1>2 tickets</h1>",
    ] {
        assert!(html.contains(needed), "{needed} is missing: {html}");
    }
    let payment = &bought.payments[0];
    let reservation = &made[0].reservation_id;
    for other in [
        CUSTOMER,
        &bought.secret,
        &bought.purchase_id,
        &payment.payment_id,
        reservation,
        &made[0].ticket_id,
        &showtime.showtime_id,
        "tok_ok",
        "EUR",
        "<script",
        "src=",
        "href=",
        "url(",
        "@import",
        "https:",
    ] {
        assert!(!html.contains(other), "{other} is on the page: {html}");
    }
    // The same page by the ids, and a page of one ticket, which does not name the purchase.
    let (purchase_id, customer_id) = (bought.purchase_id.clone(), CUSTOMER.to_owned());
    let by_id =
        GetTicketPageRequest { purchase_id, customer_id: customer_id.clone(), ..GetTicketPageRequest::default() };
    assert_eq!(page(server, by_id).await.expect("it is the customer's"), html);
    let ticket_id = made[1].ticket_id.clone();
    let one = GetTicketPageRequest { ticket_id, customer_id, ..GetTicketPageRequest::default() };
    let one = page(server, one).await.expect("it is the customer's");
    assert!(one.contains(&made[1].number) && !one.contains(&made[0].number) && !one.contains("PUR-"), "{one}");
}

async fn a_page_says_how_many_tickets_it_leaves_out(shop: Shop) {
    let (server, showtime) = (&shop.server, premiere(&shop.server).await);
    let bought = bought(server, &showtime, "A1 A2 A3", "adult 3").await;
    let made = tickets(server, &bought.purchase_id).await;
    let has = |html: &str, numbers: [bool; 3]| {
        assert_eq!([0, 1, 2].map(|at| html.contains(&made[at].number)), numbers, "{html}");
    };
    use_ticket(server, at_door(&made[0], &showtime, "1")).await.expect("it is issued");
    release(server, bought.reservation.as_ref().expect("a reservation"), "A2").await.expect("it is sold");
    until_ended(server, &bought, 1).await;
    let html = page(server, of_purchase(&bought)).await.expect("the secret is right");
    has(&html, [false, false, true]);
    assert!(html.contains("<p>1 ticket was used before.</p>") && !html.contains("PUR-"), "{html}");
    use_ticket(server, at_door(&made[2], &showtime, "2")).await.expect("it is issued");
    let html = page(server, of_purchase(&bought)).await.expect("the secret is right");
    has(&html, [false; 3]);
    assert!(
        html.contains("There is no ticket to print") && html.contains("<p>2 tickets were used before.</p>"),
        "{html}"
    );
    let ticket_id = made[1].ticket_id.clone();
    let void = page(server, GetTicketPageRequest { ticket_id, ..GetTicketPageRequest::default() }).await;
    assert!(void.expect("it exists").contains("<p>1 ticket was given up or exchanged.</p>"));
    // After an exchange the page has the new tickets.
    let exchanged = self::bought(server, &showtime, "B1", "adult 1").await;
    let ticket_id = tickets(server, &exchanged.purchase_id).await[0].ticket_id.clone();
    exchange(server, exchanged.reservation.as_ref().expect("a reservation"), "B2").await.expect("B2 is free");
    let void = page(server, GetTicketPageRequest { ticket_id, ..GetTicketPageRequest::default() }).await;
    assert!(void.expect("it exists").contains("<p>1 ticket was given up or exchanged.</p>"));
    let html = page(server, of_purchase(&exchanged)).await.expect("the secret is right");
    assert!(html.contains(">B2<") && !html.contains(">B1<"), "{html}");
}

async fn a_page_is_for_one_purchase_or_one_ticket(shop: Shop) {
    let (server, showtime) = (&shop.server, premiere(&shop.server).await);
    let bought = bought(server, &showtime, "A1", "adult 1").await;
    let id = request_id();
    let nothing = GetTicketPageRequest::default();
    let violated = &["purchase_id", "number", "ticket_id"];
    assert_violates(&page(server, nothing.clone()).await.expect_err("it is not valid"), violated);
    let two = GetTicketPageRequest { ticket_id: id.clone(), ..of_purchase(&bought) };
    assert_violates(&page(server, two).await.expect_err("it is not valid"), violated);
    let wrong = GetTicketPageRequest { secret: "7ZK4M-0QX3B-NF1AS-SAK6S".to_owned(), ..of_purchase(&bought) };
    let status = page(server, wrong).await.expect_err("the secret is wrong");
    assert_not_found(&status, "PURCHASE_NOT_FOUND", &bought.number);
    let of_another = GetTicketPageRequest { customer_id: "bob".to_owned(), ..nothing.clone() };
    let purchase_id = bought.purchase_id.clone();
    let status = page(server, GetTicketPageRequest { purchase_id, ..of_another.clone() }).await;
    assert_not_found(&status.expect_err("it is not his"), "PURCHASE_NOT_FOUND", &bought.purchase_id);
    let ticket_id = tickets(server, &bought.purchase_id).await[0].ticket_id.clone();
    let status = page(server, GetTicketPageRequest { ticket_id: ticket_id.clone(), ..of_another }).await;
    assert_not_found(&status.expect_err("it is not his"), "TICKET_NOT_FOUND", &ticket_id);
    let unknown = GetTicketPageRequest { ticket_id: id.clone(), ..nothing };
    assert_not_found(&page(server, unknown).await.expect_err("there is none"), "TICKET_NOT_FOUND", &id);
}

/// Lets Chromium open a file, and waits until it has ended.
async fn open_in_chromium(folder: &Path, file: &Path, options: &[String]) {
    let mut program = Command::new(chromium());
    program.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]);
    program.args(options).arg(format!("file://{}", file.display()));
    program.envs(["HOME", "TMPDIR"].map(|name| (name, folder)));
    program.env_remove("XDG_CONFIG_HOME").env_remove("XDG_CACHE_HOME");
    let browser = Process::spawn("chromium", program, Signal::TERM);
    assert!(browser.exit().await.success(), "{}", browser.console());
}

#[tokio::test]
async fn chromium_shows_every_code_and_prints_two_tickets_on_a_sheet() {
    let shop = Shop::open(Store::Sqlite).await;
    let (server, showtime) = (&shop.server, premiere(&shop.server).await);
    let bought = bought(server, &showtime, "A1 A2 A3", "adult 2 child 1").await;
    let folder = supervisor::folder("page-");
    let html = folder.path().join("page.html");
    fs::write(&html, page(server, of_purchase(&bought)).await.expect("the secret is right")).expect("a file");
    let (image, print) = (folder.path().join("page.png"), folder.path().join("page.pdf"));
    let screenshot = [format!("--screenshot={}", image.display()), "--window-size=760,1500".to_owned()];
    open_in_chromium(folder.path(), &html, &screenshot).await;
    let output = Command::new(&installed().python).arg(source("python/page.py")).arg(&image).output();
    let output = output.expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found: Vec<String> = serde_json::from_slice(&output.stdout).expect("a list");
    let mut codes: Vec<_> = tickets(server, &bought.purchase_id).await.into_iter().map(|one| one.code).collect();
    codes.push(bought.code);
    found.sort();
    codes.sort();
    assert_eq!(found, codes);
    // One code of the purchase and three tickets are two sheets.
    open_in_chromium(folder.path(), &html, &[format!("--print-to-pdf={}", print.display())]).await;
    let printed = fs::read(&print).expect("it was printed");
    let sheets = String::from_utf8_lossy(&printed).matches("/Type /Page\n").count();
    assert_eq!(sheets, 2);
}
