//! `boxoffice audit`: whether the books balance, and whether the payment gateway says the same.

use std::path::Path;

use super::{failure::Failure, options};
use crate::{
    app::{Audit, Comparison, MAX_COUNTED, Sums},
    clock::Clock,
    config::AuditConfig,
    payments::Gateway,
    store::{Database, Store},
    telemetry,
};

/// Checks the books, prints what is wrong with them and a summary. It fails if anything is wrong.
pub(super) async fn audit(config: &AuditConfig) -> Result<(), Failure> {
    let database = options::audited(config);
    if let Database::Sqlite(path) = &database.database {
        exists(path)?;
    }
    let gateway = match &config.payments.payment_gateway_url {
        Some(url) => Some(Gateway::new(&options::gateway(&config.payments, url.expose())?)?),
        None => None,
    };
    let store = Store::open(&database).await?;
    let done = checked(&store, gateway.as_ref()).await;
    store.close().await;
    match done? {
        0 => {
            telemetry::print("the books balance");
            Ok(())
        }
        1 => Err("the books do not balance: 1 finding".into()),
        findings => Err(format!("the books do not balance: {findings} findings").into()),
    }
}

/// To open a file that does not exist would make one.
fn exists(path: &Path) -> Result<(), Failure> {
    match path.metadata() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{} cannot be used: {}", path.display(), telemetry::cause::of_io(&error)).into()),
    }
}

async fn checked(store: &Store, gateway: Option<&Gateway>) -> Result<u64, Failure> {
    let start = Clock::System.now();
    let mut report = |finding: &str| telemetry::print(&format!("finding: {finding}"));
    let mut audit = Audit::of_books(store, start, &mut report).await?;
    let compared = match gateway {
        Some(gateway) => Some(audit.compare(store, gateway, start, &mut report).await?),
        None => None,
    };
    let Audit { completed, compensated, running, stuck, .. } = audit;
    telemetry::print(&format!(
        "purchases: {completed} completed, {compensated} compensated; not judged: {running} running, {stuck} stuck"
    ));
    if audit.without_purchase > 0 {
        let many = if audit.without_purchase == MAX_COUNTED { "or more " } else { "" };
        telemetry::print(&format!(
            "{} {many}sales from before there were purchases have none yet: the service makes them when it runs",
            audit.without_purchase
        ));
    }
    if audit.without_tickets > 0 {
        telemetry::print(&format!(
            "{} sales of a release without tickets have none yet: the service makes them when it runs",
            audit.without_tickets
        ));
    }
    for Sums { captured, refunded } in audit.sums.values() {
        telemetry::print(&format!("captured {captured}, refunded {refunded}"));
    }
    telemetry::print(&match compared {
        Some(Comparison::Compared { payments }) => format!("payment gateway: {payments} payments compared"),
        Some(Comparison::Unreachable(trouble)) => format!("payment gateway: not compared with it: {trouble}"),
        None => "payment gateway: not compared with it: --payment-gateway-url names none".to_owned(),
    });
    Ok(audit.findings)
}
