//! The connection to a server: one HTTP/2 connection, opened when it is first needed and reopened when it breaks.
//!
//! A dead connection is detected within about 15 seconds. Over https only the certificates that the operator names are
//! trusted: authorities, or the server's own certificate, which may be self-signed. If none is named, the authorities
//! that browsers trust are.

use std::{sync::Arc, time::Duration};

use rustls::{
    DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{self, CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use thiserror::Error;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

/// The interval of pings. They are also sent while the connection is idle, to detect a peer that vanished.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How a server is called.
pub struct ChannelOptions<'a> {
    /// `http://host:port` or `https://host:port`.
    pub url: &'a str,
    /// The certificates to trust over https, as PEM: authorities, or the server's own self-signed certificate. `None` trusts
    /// the authorities that browsers trust.
    pub ca_pem: Option<&'a [u8]>,
    /// Whether any certificate is accepted. For development only.
    pub insecure: bool,
    /// The longest wait for a connection.
    pub timeout: Duration,
}

/// An option that cannot work. No message repeats a value, because URLs may hold secrets.
#[derive(Debug, Error)]
pub enum ChannelError {
    /// The URL is not `http://host:port` or `https://host:port`.
    #[error("the URL must be http://host:port or https://host:port")]
    Url,
    /// The CA file has no certificate that can be trusted.
    #[error("the CA file must hold at least one PEM certificate, and holds none that can be used")]
    CaFile,
    /// The TLS library refuses the settings.
    #[error("TLS cannot be set up")]
    Tls(#[source] tonic::transport::Error),
}

/// Configures the connection. Nothing is sent before the first call.
///
/// # Errors
/// An option cannot work.
pub fn open(options: &ChannelOptions<'_>) -> Result<Channel, ChannelError> {
    let endpoint = Endpoint::from_shared(options.url.to_owned()).map_err(|_| ChannelError::Url)?;
    let endpoint = endpoint
        .connect_timeout(options.timeout)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEPALIVE))
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    if endpoint.uri().host().is_none() {
        return Err(ChannelError::Url);
    }
    let endpoint = match endpoint.uri().scheme_str() {
        Some("http") => endpoint,
        Some("https") => {
            let verifier = Arc::new(Verifier::new(options)?);
            let tls = ClientTlsConfig::new().timeout(options.timeout);
            endpoint.tls_config_with_verifier(tls, verifier).map_err(ChannelError::Tls)?
        }
        _ => return Err(ChannelError::Url),
    };
    Ok(endpoint.connect_lazy())
}

/// Verifies the server's certificate.
#[derive(Debug)]
struct Verifier {
    /// `None` accepts any certificate.
    trusted: Option<Trusted>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
struct Trusted {
    authorities: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(options: &ChannelOptions<'_>) -> Result<Self, ChannelError> {
        let provider = Arc::new(crypto::ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let trusted = match options.ca_pem {
            _ if options.insecure => None,
            Some(pem) => Some(Trusted::read(pem, provider)?),
            None => Some(Trusted::web(provider)?),
        };
        Ok(Self { trusted, algorithms })
    }
}

impl Trusted {
    /// The authorities that browsers trust.
    fn web(provider: Arc<CryptoProvider>) -> Result<Self, ChannelError> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|_| ChannelError::CaFile)?;
        Ok(Self { authorities, certificates: Vec::new() })
    }

    fn read(pem: &[u8], provider: Arc<CryptoProvider>) -> Result<Self, ChannelError> {
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| ChannelError::CaFile)?;
        let mut roots = RootCertStore::empty();
        // A system's bundle may hold certificates that cannot be parsed. A file is refused only if none can.
        roots.add_parsable_certificates(certificates.iter().cloned());
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|_| ChannelError::CaFile)?;
        Ok(Self { authorities, certificates })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        match &self.trusted {
            None => Ok(ServerCertVerified::assertion()),
            // A certificate that the operator named is accepted as it is: most self-signed certificates are marked as
            // authorities, and an authority's certificate is not valid for a server.
            Some(trusted) if trusted.certificates.contains(end_entity) => Ok(ServerCertVerified::assertion()),
            Some(trusted) => {
                trusted.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
        }
    }

    // Even when any certificate is accepted, the peer must hold its private key.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        crypto::verify_tls12_signature(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        crypto::verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
