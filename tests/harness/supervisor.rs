//! Cleans up after the test process, even when that is killed.
//!
//! A small shell waits on a pipe from the test process and notes on it what was started. When the pipe closes, for
//! whatever reason, it stops what is left and removes the folder that holds everybody's files.

use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// Ignores the terminal's signals: those are for the test process, and its end is what counts.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
folder=$1
watched=
while read -r verb pid signal; do
    case $verb in
    watch) watched="$watched $pid:$signal" ;;
    forget)
        left=
        for each in $watched; do [ "${each%%:*}" = "$pid" ] || left="$left $each"; done
        watched=$left
        ;;
    esac
done
for each in $watched; do kill "-${each#*:}" "${each%%:*}"; done
patience=100
for each in $watched; do
    while kill -0 "${each%%:*}" && [ "$patience" -gt 0 ]; do
        sleep 0.05
        patience=$((patience - 1))
    done
    kill -KILL "${each%%:*}"
done
rm -rf "$folder"
"#;

struct Supervisor {
    folder: std::path::PathBuf,
    pipe: Mutex<ChildStdin>,
    _shell: Child,
}

static SUPERVISOR: OnceLock<Supervisor> = OnceLock::new();

fn supervisor() -> &'static Supervisor {
    SUPERVISOR.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("boxoffice-test-").tempdir().expect("a temporary folder").keep();
        // Postgres runs as somebody else when the tests run as root, and must be able to reach its own folder in here.
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("permissions of the temporary folder");
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "supervisor"])
            .arg(&folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell");
        let pipe = Mutex::new(shell.stdin.take().expect("its input is piped"));
        Supervisor { folder, pipe, _shell: shell }
    })
}

fn tell(line: &str) {
    let mut pipe = supervisor().pipe.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(pipe, "{line}").expect("the supervisor listens");
}

/// Makes sure that this process is sent `signal`, and then killed, when the test process is gone.
pub(crate) fn watch(pid: Pid, signal: Signal) {
    tell(&format!("watch {} {}", pid.as_raw_nonzero(), signal.as_raw()));
}

/// That process has ended: its number may soon be somebody else's.
pub(crate) fn forget(pid: Pid) {
    tell(&format!("forget {}", pid.as_raw_nonzero()));
}

/// Where everybody's files are.
pub(crate) fn root() -> &'static Path {
    &supervisor().folder
}

/// A folder for one test, removed with the returned value, or with the test process.
pub(crate) fn folder(name: &str) -> TempDir {
    tempfile::Builder::new().prefix(name).tempdir_in(root()).expect("a folder in the temporary folder")
}
