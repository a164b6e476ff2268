//! Inner TLS: end to end between initiator and target, with raw public keys both ways (RFC 7250, RFC 8446).
//!
//! No certificate authority, no clock and no host name take part. The initiator knows the target's key from the blob
//! and pins it. The target takes any P-256 key that signs the handshake and lets the core compare it with the
//! grant's `cnf`, so that a wrong key is told to the relay and burns nothing. Neither end resumes, and neither sends
//! early data: whatever is replayed meets a fresh handshake.

use std::sync::Arc;

use klnet_wire::identity::crypto::provider;
use klnet_wire::identity::tls::TlsKey;
use klnet_wire::identity::trust::{p256_from_spki, p256_spki};
use klnet_wire::signed::PublicKey;
use klnet_wire::signing::SigningKey;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, Error,
    ServerConfig, SignatureScheme,
};

/// The application protocol of the inner handshake; both ends insist on it.
pub const ALPN: &[u8] = crate::grant::ALPN.as_bytes();

/// The target's side: shows `key`, takes any P-256 client key ([`peer_key`] says which one it was).
pub fn target_config(key: &SigningKey) -> Arc<ServerConfig> {
    let provider = provider();
    let verifier = AnyKey { algorithms: provider.signature_verification_algorithms };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("the provider speaks TLS 1.3")
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified(key))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Arc::new(config)
}

/// The initiator's side: shows `key`, takes only `target` as the other end.
pub fn initiator_config(key: &SigningKey, target: &PublicKey) -> Arc<ClientConfig> {
    let provider = provider();
    let spki = SubjectPublicKeyInfoDer::from(spki(target));
    let verifier = OneKey { spki, algorithms: provider.signature_verification_algorithms };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("the provider speaks TLS 1.3")
        .dangerous() // not the web's authorities: one key, pinned by the blob
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified(key))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// The key the other end of a finished handshake has proved to hold, if it also agreed to [`ALPN`].
///
/// # Errors
/// [`NotInner`] when there is no P-256 key, or the application protocol was not agreed on.
pub fn peer_key(connection: &CommonState) -> Result<PublicKey, NotInner> {
    if connection.alpn_protocol() != Some(ALPN) {
        return Err(NotInner::Protocol);
    }
    let shown = connection.peer_certificates().and_then(<[_]>::first).ok_or(NotInner::Key)?;
    p256_from_spki(shown).map_err(|_| NotInner::Key)
}

/// Why a finished handshake is not one of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotInner {
    /// The other end did not name the application protocol.
    #[error("the other end did not ask for the application protocol klt/1")]
    Protocol,
    /// The other end showed no P-256 key.
    #[error("the other end showed no P-256 public key")]
    Key,
}

/// Takes any client key that signs the handshake.
#[derive(Debug)]
struct AnyKey {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        p256_from_spki(shown).map_err(|_| CertificateError::BadEncoding)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(shown.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Takes exactly one server key.
#[derive(Debug)]
struct OneKey {
    spki: SubjectPublicKeyInfoDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for OneKey {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match shown.as_ref() == self.spki.as_ref() {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        _shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(message, &self.spki, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn spki(key: &PublicKey) -> Vec<u8> {
    match key {
        PublicKey::P256(point) => p256_spki(point),
        // No device or operator has one; an empty key is equal to none that a peer can show.
        PublicKey::Ed25519(_) => Vec::new(),
    }
}

fn certified(key: &SigningKey) -> Arc<CertifiedKey> {
    // With raw public keys the one "certificate" of the chain is the SubjectPublicKeyInfo (RFC 7250, 3).
    let shown = CertificateDer::from(spki(key.public()));
    Arc::new(CertifiedKey::new(vec![shown], Arc::new(TlsKey(key.clone()))))
}

#[cfg(test)]
mod tests;
