//! Signatures as [Standard Webhooks](https://www.standardwebhooks.com) writes them.

use std::fmt;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// The fewest and the most bytes of a secret.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Reads base64 with padding or without.
const READ: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A secret that an endpoint shares. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(Vec<u8>);

impl Secret {
    /// Reads `whsec_` and base64, if that is a secret of 24 to 64 bytes.
    pub(super) fn read(text: &str) -> Option<Self> {
        let bytes = READ.decode(text.strip_prefix(PREFIX)?).ok()?;
        BYTES.contains(&bytes.len()).then_some(Self(bytes))
    }

    fn sign(&self, content: &[&[u8]]) -> String {
        // HMAC takes keys of any length, so there is always one.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        for part in content {
            mac.update(part);
        }
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The value of `webhook-signature`: a signature by each secret, separated by spaces.
pub(super) fn signatures(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let timestamp = timestamp.to_string();
    let content = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    secrets.iter().map(|secret| secret.sign(&content)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn a_signature_is_that_of_the_reference_libraries() {
        let secret = Secret::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signatures(
            std::slice::from_ref(&secret),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(format!("{secret:?}"), "***");
    }

    #[test]
    fn each_secret_signs() {
        let secrets = [1, 2].map(|byte| Secret(vec![byte; 24]));
        let both = signatures(&secrets, "id", 0, b"{}");
        let one = |secret: &Secret| signatures(std::slice::from_ref(secret), "id", 0, b"{}");
        assert_eq!(both, format!("{} {}", one(&secrets[0]), one(&secrets[1])));
    }

    #[test]
    fn a_secret_has_24_to_64_bytes() {
        let of = |bytes: usize| Secret::read(&format!("whsec_{}", BASE64_STANDARD.encode(vec![7; bytes])));
        assert_eq!([23, 24, 64, 65].map(|bytes| of(bytes).is_some()), [false, true, true, false]);
        assert!(Secret::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMA").is_some(), "without padding");
        assert!(Secret::read("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_none(), "without its prefix");
        assert!(Secret::read("whsec_%%%").is_none());
    }
}
