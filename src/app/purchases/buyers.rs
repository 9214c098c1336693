//! What only the buyer of a purchase receives: its secret and its code.

use super::{PurchaseRef, PurchaseView};
use crate::{
    app::{App, Error},
    domain::{
        ids::PurchaseId,
        purchase::PurchaseNumber,
        reservation::CustomerId,
        secret::PurchaseSecret,
        ticket::{CodeKind, TicketCode},
    },
    store::StoredPurchase,
};

/// The number of a purchase, with the secret that its buyer has received.
#[derive(Clone, Debug)]
pub struct NumberAndSecret {
    /// The number.
    pub number: PurchaseNumber,
    /// The secret.
    pub secret: PurchaseSecret,
}

/// A purchase named by its id, or by its number and its secret.
#[derive(Clone, Debug)]
pub enum NamedPurchase {
    /// By its id.
    Id(PurchaseId),
    /// By its number and its secret.
    Secret(NumberAndSecret),
}

/// A purchase in an answer to its buyer.
#[derive(Clone, Debug)]
pub struct BuyersPurchase {
    /// The purchase.
    pub view: PurchaseView,
    /// Its secret.
    pub secret: PurchaseSecret,
    /// The code of all its tickets.
    pub code: TicketCode,
}

impl App {
    /// A purchase with its secret and its code, for an answer to its buyer.
    pub(super) fn for_buyer(&self, view: PurchaseView) -> BuyersPurchase {
        let id = view.purchase.facts.purchase_id;
        BuyersPurchase { secret: self.0.purchase_key.secret(id), code: self.purchase_code(id), view }
    }

    /// The code of a purchase for all its tickets, signed by the key that signs now.
    pub(in crate::app) fn purchase_code(&self, id: PurchaseId) -> TicketCode {
        self.0.keys.signing().sign(CodeKind::Purchase, self.0.purchase_key.code_bits(id), id.0)
    }

    /// Reads the purchase that is named so, if it belongs to the customer.
    pub(in crate::app) async fn find_named(
        &self,
        named: &NamedPurchase,
        customer_id: Option<CustomerId>,
    ) -> Result<StoredPurchase, Error> {
        match named {
            NamedPurchase::Id(purchase_id) => {
                self.find_purchase(&PurchaseRef { purchase_id: *purchase_id, customer_id }).await
            }
            NamedPurchase::Secret(proof) => {
                let not_found = || Error::no_purchase(&proof.number);
                let found = self.0.store.purchase_id(&proof.number).await?;
                // The secret is compared also if there is no such purchase, and nothing else is read before, so that both take the same time.
                let id = found.unwrap_or(PurchaseId(uuid::Uuid::nil()));
                let is_proven = self.0.purchase_key.is_secret_of(id, &proof.secret);
                let id = found.filter(|_| is_proven).ok_or_else(not_found)?;
                match self.find_purchase(&PurchaseRef { purchase_id: id, customer_id }).await {
                    Err(Error::NotFound { .. }) => Err(not_found()),
                    found => found,
                }
            }
        }
    }
}
