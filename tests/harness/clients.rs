//! The programs and packages of the clients in other languages.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// Returns the path of a file in `tests/clients`.
pub(crate) fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(path)
}

/// The installed interpreter and packages.
pub(crate) struct Clients {
    /// The Python interpreter of the virtual environment.
    pub(crate) python: PathBuf,
    /// The folder with the Node packages.
    node: PathBuf,
}

impl Clients {
    pub(crate) fn buf(&self) -> PathBuf {
        self.program("buf")
    }

    /// A program of the Node packages.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.node.join("node_modules/.bin").join(name)
    }

    /// Copies a program of `tests/clients/node` into the folder with its packages, because Node looks for packages beside the
    /// program. Returns the path of the copy.
    pub(crate) fn beside_packages(&self, program: &str) -> PathBuf {
        let copy = self.node.join(program);
        fs::copy(source("node").join(program), &copy).expect("a copy");
        copy
    }
}

/// Runs `scripts/clients`, which installs the packages if they are missing and prints where they are.
pub(crate) fn installed() -> &'static Clients {
    static CLIENTS: LazyLock<Clients> = LazyLock::new(|| {
        for (tool, package) in [("python3", "python3-venv"), ("npm", "npm"), ("node", "nodejs")] {
            let found = Command::new(tool).arg("--version").output();
            assert!(found.is_ok(), "{tool} is not installed: `apt-get install {package}` (Debian)");
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new(root.join("scripts/clients")).current_dir(root).output();
        let output = output.expect("scripts/clients runs");
        let (printed, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "scripts/clients: {printed}{errors}");
        let path = |name: &str| {
            let line = printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            PathBuf::from(line.unwrap_or_else(|| panic!("scripts/clients prints no path of {name}: {printed}")))
        };
        Clients { python: path("python"), node: path("node") }
    });
    &CLIENTS
}
