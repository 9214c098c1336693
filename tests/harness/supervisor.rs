//! Cleans up after the test process, even if that is killed.
//!
//! The supervisor is a shell script. It reads from a pipe which processes the tests have started and which have ended. When the
//! test process ends, for whatever reason, the pipe closes. The script then stops the processes that still run and deletes the
//! folder with all files of the tests.

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

/// The script ignores the terminal's signals, because it must run until the test process has ended.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
folder=$1
watched=
while read -r verb pid signal; do
    case $verb in
    watch) watched="$watched $pid:$signal" ;;
    forget)
        remaining=
        for each in $watched; do [ "${each%%:*}" = "$pid" ] || remaining="$remaining $each"; done
        watched=$remaining
        ;;
    esac
done
for each in $watched; do kill "-${each#*:}" "${each%%:*}"; done
polls=100
for each in $watched; do
    while kill -0 "${each%%:*}" && [ "$polls" -gt 0 ]; do
        sleep 0.05
        polls=$((polls - 1))
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
        // If the tests run as root, Postgres runs as another user and must be able to reach its folder inside this one.
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

fn send(line: &str) {
    let mut pipe = supervisor().pipe.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(pipe, "{line}").expect("the supervisor runs");
}

/// Asks the supervisor to send `signal` to this process when the test process has ended, and to kill it 5 s later.
pub(crate) fn watch(pid: Pid, signal: Signal) {
    send(&format!("watch {} {}", pid.as_raw_nonzero(), signal.as_raw()));
}

/// Tells the supervisor that the process has ended, because its id may soon belong to another process.
pub(crate) fn forget(pid: Pid) {
    send(&format!("forget {}", pid.as_raw_nonzero()));
}

/// Returns the folder with all files of the tests.
pub(crate) fn root() -> &'static Path {
    &supervisor().folder
}

/// Makes a folder for one test. It is deleted when the returned value is dropped, or when the test process ends.
pub(crate) fn folder(name: &str) -> TempDir {
    tempfile::Builder::new().prefix(name).tempdir_in(root()).expect("a folder in the temporary folder")
}
