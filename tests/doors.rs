//! Tickets at many doors at once.

use boxoffice::pb::boxoffice::v1::{PurchaseState, TicketState, UseTicketRequest};
use futures_util::future::join_all;

use crate::{
    harness::{
        assert_violates,
        purchases::{buy, of_seats, until_state},
        shop::Shop,
    },
    tickets::{at_door, open_doors, tickets, use_ticket},
};

in_both_shops!(two_tickets_with_one_nonce_are_never_both_used,);

async fn two_tickets_with_one_nonce_are_never_both_used(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    for row in ["A", "B", "C"] {
        let names: Vec<_> = (1..=8).map(|number| format!("{row}{number}")).collect();
        let begun = buy(server, of_seats(&showtime, row, &names.join(" "), "tok_ok")).await.expect("they are free");
        let bought = until_state(server, &begun, PurchaseState::Completed).await;
        let made = tickets(server, &bought.purchase_id).await;
        // Six of them with one nonce, and two with another one.
        let requests = made.iter().enumerate().map(|(at, ticket)| UseTicketRequest {
            device: format!("door {row}"),
            ..at_door(ticket, &showtime, if at < 6 { "1" } else { "2" })
        });
        let answers = join_all(requests.map(|request| use_ticket(server, request))).await;
        for same_nonce in [&answers[..6], &answers[6..]] {
            assert_eq!(same_nonce.iter().filter(|answer| answer.is_ok()).count(), 1, "{same_nonce:#?}");
            for status in same_nonce.iter().filter_map(|answer| answer.as_ref().err()) {
                assert_violates(status, &["nonce"]);
            }
        }
        let after = tickets(server, &bought.purchase_id).await;
        assert_eq!(after.iter().filter(|ticket| ticket.state() == TicketState::Used).count(), 2, "{after:#?}");
    }
}
