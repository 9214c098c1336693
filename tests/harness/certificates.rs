//! Certificates for servers of a test, from an authority that nobody else knows.

use std::{fs, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use super::supervisor;

/// Files in PEM: a certificate for `localhost` with its key, the authority that has signed it, and another authority of the same
/// kind.
pub(crate) struct Certificates {
    folder: TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let folder = supervisor::folder("certificates-");
        let authority = authority();
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let certificate = certificate.signed_by(&key, &authority).expect("a certificate");
        let files = [
            ("authority.pem", authority.pem()),
            ("another.pem", self::authority().pem()),
            ("server.pem", certificate.pem()),
            ("server.key", key.serialize_pem()),
        ];
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        Self { folder }
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    pub(crate) fn another_authority(&self) -> PathBuf {
        self.folder.path().join("another.pem")
    }

    pub(crate) fn server(&self) -> PathBuf {
        self.folder.path().join("server.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("server.key")
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("an authority")
}
