//! The demo servers inside the service, which stand in for what is not configured.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::{
    drain::Lifecycle,
    failure::{self, Failure},
};
use crate::{
    config::Config,
    payments::demo::{self as gateway, Book, OpenError},
    upstream::demo as provider,
};

/// The movie provider's address: the configured one, or that of a demo provider that is started here.
pub(super) async fn provider(config: &Config, lifecycle: &Lifecycle) -> Result<(String, Option<SocketAddr>), Failure> {
    if let Some(url) = &config.provider.provider_url {
        return Ok((url.expose().to_owned(), None));
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let demo = provider::serve(listener, provider::Options::default(), lifecycle.requests_ended.clone());
    lifecycle.tasks.spawn(async move { failure::log_if_failed("the demo provider", demo.await) });
    Ok((format!("http://{address}"), Some(address)))
}

/// The payment gateway: the configured one, or a demo gateway that has its port and does not serve yet.
pub(super) struct Gateway {
    url: String,
    demo: Option<(TcpListener, SocketAddr)>,
}

impl Gateway {
    pub(super) async fn bind(config: &Config) -> Result<Self, Failure> {
        if let Some(url) = &config.payments.payment_gateway_url {
            return Ok(Self { url: url.expose().to_owned(), demo: None });
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self { url: format!("http://{address}"), demo: Some((listener, address)) })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Starts the demo gateway, if there is no other. This comes after the store is opened, so that a data folder that cannot be
    /// used is reported by the store.
    ///
    /// Instances that share a folder, as they may on Postgres, cannot share the file. An instance that does not get it, or that
    /// has no folder it can write to, has a demo gateway in memory, and says so.
    pub(super) fn start(self, config: &Config, lifecycle: &Lifecycle) -> Result<Option<SocketAddr>, Failure> {
        let Some((listener, address)) = self.demo else { return Ok(None) };
        let book = match Book::open(&config.database.data_dir) {
            Ok(book) => book,
            Err(damaged @ OpenError::Damaged { .. }) => return Err(damaged.into()),
            Err(error) => {
                tracing::warn!(
                    "the payments of the demo gateway are in memory only and end with this process: {error}"
                );
                Book::in_memory()
            }
        };
        let demo = gateway::serve(listener, book, gateway::Options::default(), lifecycle.requests_ended.clone());
        lifecycle.tasks.spawn(async move { failure::log_if_failed("the demo gateway", demo.await) });
        Ok(Some(address))
    }
}
