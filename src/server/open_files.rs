//! The limit on the process's open files, and how many connections fit under it.
//!
//! Each connection is an open file. If callers could use up the limit, the database could not be reached, and new clients
//! would wait in a queue that nobody serves. So a start raises the soft limit to the hard one, and lowers
//! `--max-connections` to what the limit leaves when everything else has its files. `check-config` says what a start would
//! do. Deliberately absent: raising the hard limit, which is the operator's.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{admin, options};
use crate::config::{Config, DatabaseLocation};

/// Standard streams, event queues, signals, ports, name lookups, and files that are open for a moment. An idle process has
/// about 15 of these.
const PROCESS: u64 = 32;
/// One connection of the cache, two of the delta channel, and as many that are being opened in their place.
const REDIS: u64 = 6;
/// One connection, and one that is being opened in its place. The embedded demo provider has the other ends, too.
const PROVIDER: u64 = 4;
/// One connection, and one that is being opened in its place. The embedded demo gateway has the other ends, too, and its file,
/// the lock beside it, and the port.
const GATEWAY: u64 = 7;
/// The event queue of the exporter's runtime, its connection, and one that is being opened in its place.
const COLLECTOR: u64 = 6;

/// How the open files that the process may have are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenFiles {
    /// The most that the process may have open; none: there is no limit.
    limit: Option<u64>,
    /// The part that callers' connections may not use.
    reserve: u64,
    /// `--max-connections`.
    configured: usize,
}

impl OpenFiles {
    /// Raises the soft limit, and logs what that changes.
    pub(super) fn raise(config: &Config) -> Self {
        let Rlimit { current: soft, maximum: hard } = getrlimit(Resource::Nofile);
        let files = Self::under(soft, config);
        let Some(soft) = soft else { return files };
        // Not every system grants a limit that it calls unlimited.
        let raised = hard.unwrap_or_else(|| files.needed().max(soft));
        let limit = if raised == soft {
            soft
        } else if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: hard }) {
            let error = &io::Error::from(error) as &dyn std::error::Error;
            tracing::warn!(error, "the soft limit on open files was not raised from {soft} to {raised}");
            soft
        } else {
            tracing::info!("the soft limit on open files was raised from {soft} to {raised}");
            raised
        };
        let files = Self { limit: Some(limit), ..files };
        if let Some(notice) = files.notice() {
            tracing::warn!("{notice}");
        }
        files
    }

    /// What [`OpenFiles::raise`] would arrive at, without changing anything.
    pub(super) fn expected(config: &Config) -> Self {
        Self::under(getrlimit(Resource::Nofile).maximum, config)
    }

    fn under(limit: Option<u64>, config: &Config) -> Self {
        Self { limit, reserve: reserve(config), configured: config.limits.max_connections }
    }

    /// The limit that `--max-connections` needs.
    fn needed(&self) -> u64 {
        self.reserve.saturating_add(self.configured as u64)
    }

    /// The most connections of callers: `--max-connections`, or as many as fit under the limit, at least one.
    pub(super) fn max_connections(&self) -> usize {
        let Some(limit) = self.limit else { return self.configured };
        let left = usize::try_from(limit.saturating_sub(self.reserve)).unwrap_or(usize::MAX);
        self.configured.min(left.max(1))
    }

    /// What the operator should know, if `--max-connections` is lowered.
    pub(super) fn notice(&self) -> Option<String> {
        let (Self { limit: Some(limit), reserve, configured }, most) = (self, self.max_connections()) else {
            return None;
        };
        (most < *configured).then(|| {
            format!(
                "--max-connections is lowered from {configured} to {most}: the process may have {limit} files open, and \
                 {reserve} are kept for the database and whatever else is not a caller; raise the hard limit on open files \
                 (ulimit -n, LimitNOFILE, nofile) to {needed}, or lower --max-connections",
                needed = self.needed()
            )
        })
    }
}

/// The files that everything but callers' connections may have open at once.
fn reserve(config: &Config) -> u64 {
    let admin = config.http.admin_listen.address().map_or(0, |_| admin::MAX_CONNECTIONS as u64);
    let writers = match config.database.location() {
        // One more connection writes purchases.
        DatabaseLocation::Postgres(_) => u64::from(config.seats.ledger_writers) + 1,
        DatabaseLocation::Sqlite(_) => 0,
    };
    let redis = config.cache.redis_url.as_ref().map_or(0, |_| REDIS);
    let collector = config.observability.otlp_endpoint.as_ref().map_or(0, |_| COLLECTOR);
    let reports = options::reports(config).map_or(0, |reports| reports.open_files());
    PROCESS + PROVIDER + GATEWAY + admin + options::store(config).open_files() + writers + redis + collector + reports
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Command};

    fn config(options: &str) -> Config {
        let words = ["boxoffice"].into_iter().chain(options.split_whitespace());
        match config::from(words, Vec::<(String, String)>::new()).unwrap().command {
            Command::Serve(config) => config,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn connections_get_what_the_reserve_leaves() {
        let config = config("--max-connections 400");
        let reserve = reserve(&config);
        for (limit, most) in [
            (None, 400),
            (Some(reserve + 1_000), 400),
            (Some(reserve + 400), 400),
            (Some(reserve + 399), 399),
            (Some(reserve + 1), 1),
            (Some(reserve), 1),
            (Some(3), 1),
        ] {
            let files = OpenFiles::under(limit, &config);
            assert_eq!(files.max_connections(), most, "{limit:?}");
            assert_eq!(files.notice().is_some(), most < 400, "{limit:?}");
        }
        let notice = OpenFiles::under(Some(reserve + 100), &config).notice().unwrap();
        assert!(notice.starts_with("--max-connections is lowered from 400 to 100: "), "{notice}");
        assert!(notice.contains(&format!("to {}", reserve + 400)), "{notice}");
    }

    #[test]
    fn the_reserve_follows_the_configuration() {
        let alone = reserve(&config("--admin-listen off"));
        assert_eq!(reserve(&config("")), alone + 64);
        assert_eq!(reserve(&config("--admin-listen off --redis-url redis://localhost")), alone + REDIS);
        assert_eq!(reserve(&config("--admin-listen off --otlp-endpoint http://localhost:4317")), alone + COLLECTOR);
        let reports = "--admin-listen off --reports-url postgres://localhost/reports --reports-connections 7";
        assert_eq!(reserve(&config(reports)), alone + 7);
        let postgres = "--admin-listen off --database-url postgres://localhost/boxoffice";
        let many = format!("{postgres} --database-connections 116 --ledger-writers 5");
        assert_eq!(reserve(&config(&many)), reserve(&config(postgres)) + 100 + 3);
    }
}
