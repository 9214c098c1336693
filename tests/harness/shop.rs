//! A server with a payment gateway of its own, for tests of purchases and of what follows them.

use boxoffice::pb::payments::v1::PaymentState as GatewayState;

use super::{
    Server, Store,
    money::taken,
    purchases::{Gateway, books},
    server::{binary, printed},
    world::Storage,
    wrong_gateway::WrongGateway,
};

/// Makes two tests of each of these functions, one for each store. They get a [`Shop`], or with `WrongShop:` in front that.
macro_rules! in_both_shops {
    ($($test:ident),+ $(,)?) => { in_both_shops!(Shop: $($test),+); };
    ($shop:ident: $($test:ident),+ $(,)?) => {
        $(mod $test {
            use crate::harness::{Store, shop::$shop};

            #[tokio::test]
            async fn sqlite() {
                Box::pin(super::$test($shop::open(Store::Sqlite).await)).await;
            }

            #[tokio::test]
            async fn postgres() {
                Box::pin(super::$test($shop::open(Store::Postgres).await)).await;
            }
        })+
    };
}

/// A server, its payment gateway, and their data.
pub(crate) struct Shop {
    pub(crate) server: Server,
    pub(crate) gateway: Gateway,
    pub(crate) storage: Storage,
}

impl Shop {
    /// Opens one, with a short deadline for calls of the gateway.
    pub(crate) async fn open(store: Store) -> Self {
        Self::with(store, &[]).await
    }

    pub(crate) async fn with(store: Store, options: &[(&str, &str)]) -> Self {
        let storage = Storage::new(store).await;
        let gateway = Gateway::start(storage.folder()).await;
        let setup = storage.setup().with("--payment-gateway-url", gateway.url());
        let setup = setup.with("--payment-gateway-timeout", "500ms");
        let setup = options.iter().fold(setup, |setup, (flag, value)| setup.with(flag, *value));
        Self { server: setup.start().await, gateway, storage }
    }

    /// Asserts that the audit finds nothing wrong. It reads Postgres beside the server. SQLite is for one process, so the server stops
    /// for it, and starts again.
    pub(crate) async fn assert_audit(mut self) -> Self {
        if !self.storage.is_postgres() {
            self.server.stop().await;
        }
        let (code, printed) = audit(&self.storage, &self.gateway).await;
        assert_eq!(code, Some(0), "{printed}");
        if !self.storage.is_postgres() {
            self.server = self.server.setup().clone().start().await;
        }
        self
    }

    /// The states of all payments at the gateway.
    pub(crate) async fn charged(&self) -> Vec<GatewayState> {
        self.gateway.states().await
    }

    /// Asserts that each account has this and that those without a balance are left out, that the books add up to nothing, and that
    /// the gateway says the same of its money.
    pub(crate) async fn assert_books(&self, expected: &[(&str, i64)]) {
        let found = books(&self.storage.connect().await).await;
        assert_eq!(found.iter().map(|(_, minor)| minor).sum::<i64>(), 0, "{found:?}");
        let found = found.iter().map(|(account, minor)| (account.as_str(), *minor)).filter(|(_, minor)| *minor != 0);
        assert_eq!(found.collect::<Vec<_>>(), expected);
        let gateway = expected.iter().find(|(account, _)| *account == "gateway").map_or(0, |(_, minor)| *minor);
        let report: i64 = self.gateway.payments().await.iter().map(taken).sum();
        assert_eq!(report, gateway, "the gateway's report");
    }
}

/// Runs the audit. Returns its exit code and what it printed.
pub(crate) async fn audit(storage: &Storage, gateway: &Gateway) -> (Option<i32>, String) {
    audit_of(storage.url(), gateway).await
}

/// Runs the audit of the database with this URL.
pub(crate) async fn audit_of(url: String, gateway: &Gateway) -> (Option<i32>, String) {
    let gateway = gateway.url();
    let run = move || {
        let mut command = binary();
        command.args(["audit", "--database-url", &url, "--payment-gateway-url", &gateway]);
        command.args(["--payment-gateway-timeout", "2s"]).output().expect("the binary runs")
    };
    let output = tokio::task::spawn_blocking(run).await.expect("it ends");
    printed(&output)
}

/// A server whose payment gateway may answer wrongly, the gateway behind that one, and their data.
pub(crate) struct WrongShop {
    pub(crate) server: Server,
    pub(crate) wrong: WrongGateway,
    pub(crate) gateway: Gateway,
    pub(crate) storage: Storage,
}

impl WrongShop {
    /// Opens one. Nothing is wrong yet.
    pub(crate) async fn open(store: Store) -> Self {
        let storage = Storage::new(store).await;
        let gateway = Gateway::start(storage.folder()).await;
        let wrong = WrongGateway::before(gateway.url());
        let server = storage.setup().with("--payment-gateway-url", wrong.url()).start().await;
        Self { server, wrong, gateway, storage }
    }

    /// Asserts that the audit finds nothing wrong, with the gateway behind the wrong one. The server ends for it, since SQLite is for one
    /// process.
    pub(crate) async fn assert_audited(self) {
        self.server.stop().await;
        let (code, printed) = audit(&self.storage, &self.gateway).await;
        assert_eq!(code, Some(0), "{printed}");
    }
}
