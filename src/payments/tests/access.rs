//! The key, and which certificates of the gateway are trusted.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;
use crate::{payments::SetupError, remote::Secret};

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[tokio::test]
async fn only_certificates_of_a_trusted_authority_are_accepted() {
    let (trusted, other) = (authority(), authority());
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let cert_pem = params.signed_by(&key, &trusted).unwrap().pem().into_bytes();
    let tls = demo::Tls { cert_pem, key_pem: key.serialize_pem().into_bytes() };
    let demo = Demo::with(Book::in_memory(), demo::Options { tls: Some(tls), ..demo::Options::default() }).await;
    let gateway = |host: &str, ca: Option<String>, insecure: bool| {
        let url = format!("https://{host}:{}", demo.address.port());
        let options = options(&url, Duration::from_secs(30));
        Gateway::new(&Options { ca_pem: ca.map(String::into_bytes), insecure, ..options }).unwrap()
    };
    assert_authorized(&gateway("localhost", Some(trusted.pem()), false).authorize(&by("tok_ok", "p")).await.unwrap());
    assert_authorized(&gateway("127.0.0.1", None, true).payment("p").await.unwrap());
    assert_unknown(gateway("localhost", Some(other.pem()), false).payment("p").await);
    assert_unknown(gateway("127.0.0.1", Some(trusted.pem()), false).payment("p").await);
    assert_unknown(gateway("localhost", None, false).payment("p").await);
}

#[tokio::test]
async fn the_key_is_sent_and_a_wrong_one_is_a_definite_refusal() {
    let api_key = Some(Secret::new("a-secret-key"));
    let demo = Demo::with(Book::in_memory(), demo::Options { api_key, ..demo::Options::default() }).await;
    let gateway = |key: Option<&str>| {
        let options = options(&format!("http://{}", demo.address), Duration::from_secs(30));
        Gateway::new(&Options { api_key: key.map(Secret::new), ..options })
    };
    let right = gateway(Some("a-secret-key")).unwrap();
    assert_authorized(&right.authorize(&by("tok_ok", "p")).await.unwrap());
    assert!(right.watch("").await.is_ok());
    for wrong in [None, Some("another-key")] {
        let wrong = gateway(wrong).unwrap();
        assert_refused(wrong.authorize(&by("tok_ok", "q")).await, Refusal::Unauthenticated);
        assert!(matches!(wrong.watch("").await, Err(Trouble::Refused { code: Refusal::Unauthenticated, .. })));
    }
    assert!(matches!(gateway(Some("schl\u{fc}ssel")), Err(SetupError::ApiKey)));
    for url in ["ftp://localhost", "nowhere", "https://"] {
        assert!(matches!(Gateway::new(&options(url, Duration::from_secs(1))), Err(SetupError::Url)), "{url}");
    }
}

#[tokio::test]
async fn a_gateway_that_is_not_there_leaves_the_outcome_unknown() {
    let demo = Demo::start().await;
    let gateway = demo.gateway();
    demo.stop().await;
    assert_unknown(gateway.authorize(&by("tok_ok", "p")).await);
    assert!(matches!(gateway.watch("").await, Err(Trouble::Unknown { .. })));
}
