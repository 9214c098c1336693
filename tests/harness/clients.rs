//! Where the clients in other languages are, and what they need.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// A file of `tests/clients`.
pub(crate) fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(path)
}

/// What the clients in other languages need.
pub(crate) struct Clients {
    pub(crate) python: PathBuf,
    node: PathBuf,
}

impl Clients {
    pub(crate) fn buf(&self) -> PathBuf {
        self.node.join("node_modules/.bin/buf")
    }

    /// A program of `tests/clients/node`, put where it finds its packages: Node looks for them beside the program.
    pub(crate) fn beside_packages(&self, program: &str) -> PathBuf {
        let copy = self.node.join(program);
        fs::copy(source("node").join(program), &copy).expect("a copy");
        copy
    }
}

/// Where `scripts/clients` says that they are, which installs them first if need be.
pub(crate) fn installed() -> &'static Clients {
    static CLIENTS: LazyLock<Clients> = LazyLock::new(|| {
        for (tool, package) in [("python3", "python3-venv"), ("npm", "npm"), ("node", "nodejs")] {
            let found = Command::new(tool).arg("--version").output();
            assert!(found.is_ok(), "{tool} is not installed: `apt-get install {package}` (Debian)");
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new(root.join("scripts/clients")).current_dir(root).output();
        let output = output.expect("scripts/clients runs");
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "scripts/clients: {said}{errors}");
        let place = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            PathBuf::from(line.unwrap_or_else(|| panic!("scripts/clients does not say where {name} is: {said}")))
        };
        Clients { python: place("python"), node: place("node") }
    });
    &CLIENTS
}
