//! The options of the subcommands for operators: `purchases`, `refunds`, `keys` and `audit`. `config.rs` says how to add one.

use std::net::SocketAddr;

use super::{
    declare::{Section, options, sections},
    options::{Database, Grpc, Observability, Payments},
    row::Row,
    sources::Settings,
    values::Value,
};

sections! {
    /// What `purchases` takes.
    pub(super) struct PurchasesConfig {
        /// What is asked.
        asked: OfPurchases,
        /// Where the service listens, if `asked` gives no address.
        grpc: Grpc,
    }

    /// What `refunds` takes.
    pub(super) struct RefundsConfig {
        /// What is asked.
        asked: OfRefunds,
        /// Where the service listens, if `asked` gives no address.
        grpc: Grpc,
    }

    /// What `keys` takes.
    pub(super) struct KeysConfig {
        /// What is asked.
        asked: OfKeys,
        /// Where the service listens, if `asked` gives no address.
        grpc: Grpc,
    }

    /// What `audit` takes.
    pub struct AuditConfig {
        /// The database.
        database: Database,
        /// The payment gateway.
        payments: Payments,
        /// Logs and traces.
        observability: Observability,
    }
}

options! {
    /// What `purchases` does.
    pub(super) struct OfPurchases under "What is asked" for "purchases" {
        /// Address of the service; none: the one in `--listen`.
        address: Option<SocketAddr>,
        /// How a purchase is settled: `completed` or `compensated`.
        outcome: Option<String>,
        /// Why, for those who look at the purchase later: 1 to 500 characters.
        note: Option<String>,
    }

    /// What `refunds` does.
    pub(super) struct OfRefunds under "What is asked" for "refunds" {
        /// Address of the service; none: the one in `--listen`.
        address: Option<SocketAddr>,
        /// How a refund is settled: `done`, `paid-out` or `failed`.
        outcome: Option<String>,
        /// The till that paid it out, with `paid-out`, for its cash-up; none: no till did.
        till: Option<String>,
        /// Why, for those who look at the refund later: 1 to 500 characters.
        note: Option<String>,
    }

    /// What `keys` does.
    pub(super) struct OfKeys under "What is asked" for "keys" {
        /// Address of the service; none: the one in `--listen`.
        address: Option<SocketAddr>,
        /// Retire a key although tickets that can be used yet have codes of it: they admit nobody then.
        force: bool = false,
    }
}
