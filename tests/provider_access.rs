//! Access to the provider: its API key, and TLS with a private or self-signed certificate.

use std::fs;

use boxoffice::pb::boxoffice::v1::{GetMovieRequest, MovieSource};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tonic::Status;

use crate::harness::{Provider, Server, refusals::assert_retryable, requests::INCEPTION, server::Setup, supervisor};

const KEY: &str = "a-secret-key";

#[tokio::test]
async fn the_api_key_is_sent_and_never_printed() {
    let folder = supervisor::folder("access-");
    let provider = Provider::start(&["--api-key", KEY]).await;
    let setup = Setup::new(folder.path()).with("--provider-url", provider.url()).with("--log-level", "debug");
    let server = setup.with("--provider-api-key", KEY).start().await;
    assert_eq!(source(&server).await.expect("the key is right"), MovieSource::Live);
    server.stop().await;
    assert!(!server.console().lines().iter().any(|line| line.contains(KEY)), "{}", server.console());
}

#[tokio::test]
async fn a_wrong_or_missing_api_key_is_the_providers_failure() {
    let provider = Provider::start(&["--api-key", KEY]).await;
    for key in [None, Some("another-key")] {
        let folder = supervisor::folder("access-");
        let setup = Setup::new(folder.path()).with("--provider-url", provider.url());
        let setup = key.map_or(setup.clone(), |key| setup.with("--provider-api-key", key));
        let status = source(&setup.start().await).await.expect_err("the provider refuses the call");
        assert_retryable(&status, "PROVIDER_UNAVAILABLE");
        assert!(!status.message().contains("another-key"), "{status:?}");
    }
}

#[tokio::test]
async fn a_certificate_is_verified_with_the_ca_file() {
    let folder = supervisor::folder("access-");
    let (provider, ca) = secure_provider(&folder, "provider").await;
    let (_, other_ca) = certificate(&folder, "other");
    let setup = Setup::new(folder.path()).with("--provider-url", provider.tls_url());
    let trusting = setup.clone().with("--provider-ca-file", ca).start().await;
    assert_eq!(source(&trusting).await.expect("the certificate is good"), MovieSource::Live);
    trusting.stop().await;
    let verifying = setup.with("--provider-ca-file", other_ca).start().await;
    assert_retryable(&source(&verifying).await.expect_err("the certificate is not trusted"), "PROVIDER_UNAVAILABLE");
}

#[tokio::test]
async fn an_unknown_certificate_is_refused_unless_verification_is_off() {
    let folder = supervisor::folder("access-");
    let (provider, _) = secure_provider(&folder, "provider").await;
    let setup = Setup::new(folder.path()).with("--provider-url", provider.tls_url());
    let verifying = setup.clone().start().await;
    assert_retryable(&source(&verifying).await.expect_err("the certificate is not trusted"), "PROVIDER_UNAVAILABLE");
    verifying.stop().await;
    let insecure = setup.with("--provider-insecure", "").start().await;
    assert_eq!(source(&insecure).await.expect("nothing is verified"), MovieSource::Live);
}

/// Starts a provider with a certificate for `localhost`. Returns it and the file of the CA that has signed the certificate.
async fn secure_provider(folder: &TempDir, name: &str) -> (Provider, String) {
    let ((certificate, key), ca) = certificate(folder, name);
    (Provider::start(&["--tls-cert", &certificate, "--tls-key", &key]).await, ca)
}

/// Writes a certificate with its key, and the CA that signed it. Returns the paths.
fn certificate(folder: &TempDir, name: &str) -> ((String, String), String) {
    let mut authority = CertificateParams::new(vec![]).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("a CA");
    let key = KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let params = CertificateParams::new(names).expect("two names");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    let write = |kind: &str, pem: &str| {
        let path = folder.path().join(format!("{name}.{kind}.pem"));
        fs::write(&path, pem).expect("a file");
        path.to_str().expect("a readable path").to_owned()
    };
    ((write("certificate", &certificate.pem()), write("key", &key.serialize_pem())), write("ca", &authority.pem()))
}

async fn source(server: &Server) -> Result<MovieSource, Status> {
    let request = GetMovieRequest { movie_id: INCEPTION.to_owned() };
    let answer = server.movies().get_movie(request).await?.into_inner();
    Ok(answer.movie.expect("the answer has the movie").source())
}
