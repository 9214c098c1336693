//! One private Postgres server for the test process, and a database of its own for each test that needs one.
//!
//! Postgres keeps its default durability: fsync is on. If the tests run as root, the server runs as the user `postgres` or
//! `nobody`, because Postgres refuses to run as root.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::sync::OnceCell;

use super::{
    eventually,
    process::{Process, on_a_free_port},
    supervisor,
};

/// The oldest major version that the tests accept.
const OLDEST: u32 = 15;
/// As in `docker-compose.yaml`: with a million reservations, the pages that are written to all the time do not fit into
/// Postgres's default of 128 MB.
const MEMORY: &str = "shared_buffers=512MB";

/// A server and its files.
pub(crate) struct Postgres {
    binaries: PathBuf,
    folder: PathBuf,
    port: u16,
    /// The supervisor stops the shared server, which is never dropped.
    server: Process,
}

static POSTGRES: OnceCell<Postgres> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// An empty database, dropped with this value.
pub(crate) struct Database {
    name: String,
    postgres: &'static Postgres,
}

impl Database {
    pub(crate) async fn create() -> Self {
        let shared = async || Postgres::start(supervisor::root().join("postgres")).await;
        let postgres = POSTGRES.get_or_init(shared).await;
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        postgres.tool("createdb", &["--template=template0", &name]);
        Self { name, postgres }
    }

    /// A copy of this database, to which nobody may be connected. It is another database, as one from a dump is.
    pub(crate) fn copy(&self) -> Self {
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        self.postgres.tool("createdb", &[&format!("--template={}", self.name), &name]);
        Self { name, postgres: self.postgres }
    }

    /// Writes the database to a file, as for a backup.
    pub(crate) fn dump(&self, file: &Path) {
        self.postgres.tool("pg_dump", &["--file", file.to_str().expect("a readable path"), &self.name]);
    }

    /// The value for `--database-url`.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.postgres.port, self.name)
    }

    /// Ends all connections to it, and refuses new ones.
    pub(crate) fn refuse_connections(&self) {
        let name = &self.name;
        self.postgres.sql(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
        self.postgres.sql(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"));
    }

    /// Accepts connections again.
    pub(crate) fn accept_connections(&self) {
        self.postgres.sql(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", self.name));
    }
}

/// A server that was paused and answers nothing. Dropping this resumes it.
pub(crate) struct Paused<'a> {
    backends: Vec<Pid>,
    server: &'a Process,
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        for backend in &self.backends {
            let _ = kill_process(*backend, Signal::CONT);
            supervisor::forget(*backend);
        }
        self.server.signal(Signal::CONT);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.postgres.tool("dropdb", &["--force", &self.name]);
    }
}

impl Postgres {
    /// A server in this folder, which must not exist.
    pub(crate) async fn start(folder: PathBuf) -> Self {
        let binaries = binaries();
        make_folder(&folder);
        let options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
        run(command(&binaries, &folder, "initdb").args(options));
        Self::on_a_free_port(binaries, folder).await
    }

    /// A standby of this server, in this folder, which must not exist.
    pub(crate) async fn standby(&self, folder: PathBuf) -> Self {
        make_folder(&folder);
        let port = self.port.to_string();
        let options = ["--host=127.0.0.1", "--username=postgres", "--port", &port];
        let options = options.into_iter().chain(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
        run(command(&self.binaries, &folder, "pg_basebackup").args(options));
        Self::on_a_free_port(self.binaries.clone(), folder).await
    }

    async fn on_a_free_port(binaries: PathBuf, folder: PathBuf) -> Self {
        let start = |port| spawn(&binaries, &folder, port);
        let (port, server) = on_a_free_port("Postgres", "Address already in use", ready, start).await;
        Self { binaries, folder, port, server }
    }

    /// The value for `--database-url`, for the database that every server has.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Restores a dump into the database that every server has.
    pub(crate) fn restore(&self, file: &Path) {
        let file = file.to_str().expect("a readable path");
        let options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname=postgres", "--file", file];
        self.tool("psql", &options);
    }

    /// Ends the server and its children as a power cut would.
    pub(crate) async fn crash(&self) {
        self.server.signal(Signal::QUIT);
        self.server.exit().await;
    }

    /// Starts the server again, at the same address with the same data.
    pub(crate) async fn restart(&mut self) {
        self.server = spawn(&self.binaries, &self.folder, self.port);
        self.server.console().find("that it is ready", ready).await;
    }

    /// Pauses the server: connections stay open, new ones are accepted, and nothing is answered.
    pub(crate) async fn pause(&self) -> Paused<'_> {
        self.server.signal(Signal::STOP);
        // A stopped server starts no more children.
        eventually("Postgres stops", async || self.server.is_stopped().then_some(())).await;
        let backends = self.server.children();
        for backend in &backends {
            // Each is in a process group of its own, so only the supervisor resumes it if the test process dies.
            supervisor::watch(*backend, Signal::CONT);
            let _ = kill_process(*backend, Signal::STOP);
        }
        Paused { backends, server: &self.server }
    }

    fn sql(&self, statement: &str) {
        self.tool("psql", &["--no-psqlrc", "--quiet", "--dbname=postgres", "--command", statement]);
    }

    fn tool(&self, tool: &str, arguments: &[&str]) {
        let port = self.port.to_string();
        let connection = ["--host=127.0.0.1", "--username=postgres", "--port", &port, "--no-password"];
        run(Command::new(self.binaries.join(tool)).args(connection).args(arguments));
    }
}

/// A standby is ready to accept "read-only connections".
fn ready(line: &str) -> Option<()> {
    line.contains("database system is ready to accept").then_some(())
}

/// A folder that belongs to the server's user.
fn make_folder(folder: &Path) {
    fs::create_dir(folder).expect("a folder for Postgres");
    if let Some((user, group)) = unprivileged() {
        chown(folder, Some(user), Some(group)).expect("Postgres's folder is given to its user");
    }
}

/// One of the server's own programs, run as the server's user.
fn command(binaries: &Path, folder: &Path, tool: &str) -> Command {
    let mut command = Command::new(binaries.join(tool));
    command.current_dir(folder).env("LC_ALL", "C").arg("-D").arg(folder.join("data"));
    if let Some((user, group)) = unprivileged() {
        command.uid(user).gid(group);
    }
    command
}

fn spawn(binaries: &Path, folder: &Path, port: u16) -> Process {
    let mut postgres = command(binaries, folder, "postgres");
    let port = format!("port={port}");
    for setting in ["listen_addresses=127.0.0.1", &port, "unix_socket_directories=", "max_connections=300", MEMORY] {
        postgres.args(["-c", setting]);
    }
    Process::spawn("Postgres", postgres, Signal::QUIT)
}

/// The folder of the newest server that is installed.
fn binaries() -> PathBuf {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = debian
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    found.extend(on_path());
    found.retain(|(version, folder)| {
        let complete = ["initdb", "postgres", "pg_basebackup", "pg_dump", "createdb", "dropdb", "psql"]
            .iter()
            .all(|tool| folder.join(tool).exists());
        *version >= OLDEST && complete
    });
    let newest = found.into_iter().max();
    newest.map_or_else(
        || {
            panic!(
                "no Postgres server of version {OLDEST} or newer is installed: `apt-get install postgresql` (Debian)"
            )
        },
        |(_, folder)| folder,
    )
}

/// The version and folder of the `initdb` on the path. It prints "initdb (PostgreSQL) 15.6 (…)".
fn on_path() -> Option<(u32, PathBuf)> {
    let path = Command::new("sh").args(["-c", "command -v initdb"]).output().ok()?;
    let initdb = fs::canonicalize(String::from_utf8(path.stdout).ok()?.trim()).ok()?;
    let printed = String::from_utf8(Command::new(&initdb).arg("--version").output().ok()?.stdout).ok()?;
    let version = printed.split("PostgreSQL) ").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some((version, initdb.parent().map(Path::to_path_buf)?))
}

/// The user and group of the server, if the tests run as root.
fn unprivileged() -> Option<(u32, u32)> {
    let number = |flag: &str, user: &str| {
        let output = Command::new("id").args([flag, user]).output().expect("`id` runs");
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().ok()
    };
    let found = ["postgres", "nobody"].iter().find_map(|user| Some((number("-u", user)?, number("-g", user)?)));
    geteuid().is_root().then(|| found.expect("a user `postgres` or `nobody` to run Postgres as"))
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&printed));
}
