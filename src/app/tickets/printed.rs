//! The page on which tickets are printed.

use super::{TicketView, symbol};
use crate::{
    app::{App, Error, NamedPurchase, Origin},
    domain::{
        ids::TicketId,
        reservation::CustomerId,
        ticket::{PrintedTicket, PrintedTickets, TicketState},
    },
};

/// Which tickets are printed.
#[derive(Clone, Debug)]
pub enum ToPrint {
    /// Those of a purchase.
    Purchase(NamedPurchase),
    /// One ticket.
    Ticket(TicketId),
}

impl App {
    /// The page with those tickets that admit their holders, as HTML.
    ///
    /// # Errors
    /// There is no such purchase or ticket of this customer, the secret is wrong, or the store fails.
    pub async fn ticket_page(
        &self,
        origin: &Origin,
        which: &ToPrint,
        customer_id: Option<CustomerId>,
    ) -> Result<String, Error> {
        let mut page = PrintedTickets::default();
        let found = match which {
            ToPrint::Ticket(id) => vec![self.ticket(origin, *id, customer_id.as_ref()).await?],
            ToPrint::Purchase(named) => {
                let facts = self.find_named(named, customer_id).await?.purchase.facts;
                let code = symbol(&self.purchase_code(facts.purchase_id).to_text())?.svg();
                page.purchase = Some((facts.number, code));
                let tickets = self.0.store.live_tickets(facts.purchase_id).await?;
                self.view_tickets(tickets).await?
            }
        };
        for TicketView { ticket, plan } in &found {
            match ticket.state {
                TicketState::Issued => {
                    page.tickets.push(PrintedTicket::of(ticket, plan, symbol(&ticket.code.to_text())?.svg()));
                }
                TicketState::Used => page.used += 1,
                TicketState::Unpaid | TicketState::Blocked => page.blocked += 1,
                TicketState::Voided | TicketState::Exchanged | TicketState::Refunded => page.void += 1,
            }
        }
        Ok(page.html())
    }
}
