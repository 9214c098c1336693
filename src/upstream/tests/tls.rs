//! Which certificates of the provider are trusted.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::{Demo, inception, movies_with};
use crate::{
    domain::movie::Source,
    upstream::{
        Failure, Movies,
        demo::{Options, Tls},
    },
};

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

async fn demo(cert_pem: String, key: &KeyPair) -> Demo {
    let tls = Tls { cert_pem: cert_pem.into_bytes(), key_pem: key.serialize_pem().into_bytes() };
    Demo::with(Options { tls: Some(tls), ..Options::default() }).await
}

fn movies(demo: &Demo, host: &str, ca_pem: Option<String>, insecure: bool) -> Movies {
    let mut options = demo.options();
    options.provider.url = format!("https://{host}:{}", demo.address.port());
    options.provider.ca_pem = ca_pem.map(String::into_bytes);
    options.provider.insecure = insecure;
    options.provider.attempts = 1;
    options.provider.timeout = Duration::from_secs(5);
    movies_with(&options).0
}

#[tokio::test]
async fn only_certificates_of_a_trusted_authority_are_accepted() {
    let (trusted, other) = (authority(), authority());
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let demo = demo(params.signed_by(&key, &trusted).unwrap().pem(), &key).await;

    let trusting = movies(&demo, "localhost", Some(trusted.pem()), false);
    assert_eq!(trusting.movie(&inception()).await.unwrap().source, Source::Live);
    let wrong_authority = movies(&demo, "localhost", Some(other.pem()), false);
    assert!(matches!(wrong_authority.movie(&inception()).await, Err(Failure::Unavailable { .. })));
    let wrong_name = movies(&demo, "127.0.0.1", Some(trusted.pem()), false);
    assert!(matches!(wrong_name.movie(&inception()).await, Err(Failure::Unavailable { .. })));
    let unverified = movies(&demo, "127.0.0.1", None, true);
    assert_eq!(unverified.movie(&inception()).await.unwrap().source, Source::Live);
}

#[tokio::test]
async fn a_self_signed_certificate_is_accepted_if_it_is_the_trusted_one() {
    // As `openssl req -x509` makes them: marked as an authority, and without the name of the host.
    let (own, other) = (authority(), authority());
    let demo = demo(own.pem(), own.key()).await;
    let trusting = movies(&demo, "127.0.0.1", Some(own.pem()), false);
    assert_eq!(trusting.movie(&inception()).await.unwrap().source, Source::Live);
    let untrusted = movies(&demo, "127.0.0.1", Some(other.pem()), false);
    assert!(matches!(untrusted.movie(&inception()).await, Err(Failure::Unavailable { .. })));
}
