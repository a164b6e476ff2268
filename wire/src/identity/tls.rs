//! The one place that configures rustls for certificates of a fabric.
//!
//! TLS 1.3 only, ring, no session tickets, no resumption, no early data: resumption would skip the peer's certificate.

use std::sync::{Arc, RwLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::verify_tls13_signature;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::sign::{CertifiedKey, Signer, SingleCertAndKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureAlgorithm,
    SignatureScheme, version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};

use super::chain_error::ChainError;
use super::crl::{Crls, Freshness};
use super::crypto::{algorithms, provider, schemes};
use super::role::{Principal, Role};
use super::trust::{Pin, Trust, p256_spki};
use crate::id::DeviceId;
use crate::signed::PublicKey;
use crate::signing::SigningKey;

/// A certificate chain and the key of its leaf.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Leaf, authority, root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key.
    pub key: SigningKey,
}

/// The identity that listeners show; another one may take its place while they listen.
#[derive(Debug)]
pub struct Shown(RwLock<Arc<CertifiedKey>>);

impl Shown {
    /// Shows `identity`.
    pub fn new(identity: &Identity) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(certified(identity)))))
    }

    /// Shows `identity` in every handshake from now on; says whether it is another one than before.
    pub fn show(&self, identity: &Identity) -> bool {
        let mut shown = self.0.write().expect("no holder panics");
        let other = shown.cert != identity.chain;
        if other {
            *shown = Arc::new(certified(identity));
        }
        other
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().expect("no holder panics")))
    }
}

/// Whether a listener wants certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// Every client must show one of these roles.
    Required(&'static [Role]),
    /// A client may come without one; the routes decide.
    Optional(&'static [Role]),
}

/// A listener's configuration. With `crls` nobody is let in whose issuer has no fresh list there, or who is on it; without,
/// whoever listens judges that afterwards, and can say why.
///
/// # Errors
/// The rustls error when the identity is not usable.
pub fn server_config(
    shown: &Arc<Shown>,
    trust: Trust,
    crls: Option<Arc<Crls>>,
    clients: Clients,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
    let verifier = Arc::new(FabricClients { trust, crls, clients });
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::clone(shown) as _);
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.ignore_client_order = true;
    Ok(Arc::new(config))
}

/// A configuration for dialling servers of the fabric; without `identity` the client stays anonymous.
///
/// # Errors
/// The rustls error when the identity is not usable.
pub fn client_config(
    identity: Option<&Identity>,
    trust: Trust,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, Error> {
    client(identity, Anchor::Root(trust), alpn)
}

/// Like [`client_config`], and refuses a server whose certificate the lists in `crls` revoke.
///
/// # Errors
/// The rustls error when the identity is not usable.
pub fn checking_config(
    identity: Option<&Identity>,
    trust: Trust,
    crls: Arc<Crls>,
    freshness: Freshness,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, Error> {
    client(identity, Anchor::Unrevoked(trust, crls, freshness), alpn)
}

/// A configuration for dialling a device that serves others: this one, and no other holder of a certificate. With `crls` it is
/// refused when it is revoked or no fresh list says whether it is.
///
/// # Errors
/// The rustls error when the identity is not usable.
pub fn device_config(
    identity: &Identity,
    trust: Trust,
    crls: Option<Arc<Crls>>,
    device: DeviceId,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, Error> {
    client(Some(identity), Anchor::Device(trust, crls, device), alpn)
}

/// A configuration for meeting a fabric by the pin of its root: enrolment and first login.
///
/// # Errors
/// The rustls error when the configuration is not usable.
pub fn pinned_config(pin: Pin, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, Error> {
    client(None, Anchor::Pin(pin), alpn)
}

/// A configuration for asking whoever answers, without a certificate: for an answer that proves itself.
///
/// # Errors
/// The rustls error when the configuration is not usable.
pub fn unverified_config(alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, Error> {
    client(None, Anchor::Nothing, alpn)
}

fn client(identity: Option<&Identity>, anchor: Anchor, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(FabricServers { anchor }));
    let mut config = match identity {
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified(identity))))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn certified(identity: &Identity) -> CertifiedKey {
    CertifiedKey::new(identity.chain.clone(), Arc::new(TlsKey(identity.key.clone())))
}

/// Why the peer's chain was refused, if that is what a TLS error says.
pub fn chain_error(error: &Error) -> Option<&ChainError> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => inner.downcast_ref(),
        _ => None,
    }
}

/// A server's check of its clients' chains.
#[derive(Debug)]
struct FabricClients {
    trust: Trust,
    crls: Option<Arc<Crls>>,
    clients: Clients,
}

impl ClientCertVerifier for FabricClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        matches!(self.clients, Clients::Required(_))
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let (Clients::Required(roles) | Clients::Optional(roles)) = self.clients;
        let chain = joined(leaf, rest);
        let verified = match &self.crls {
            Some(crls) => self.trust.verify_unrevoked(&chain, roles, now, crls, Freshness::Enforced),
            None => self.trust.verify(&chain, roles, now),
        };
        verified.map_err(refused)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

/// What a client holds a server against.
#[derive(Debug)]
enum Anchor {
    Root(Trust),
    Unrevoked(Trust, Arc<Crls>, Freshness),
    Pin(Pin),
    /// This device, whatever address it has.
    Device(Trust, Option<Arc<Crls>>, DeviceId),
    /// Whoever answers will do.
    Nothing,
}

/// A client's check of a server's chain. The host name plays no part: the pinned root and the role do.
#[derive(Debug)]
struct FabricServers {
    anchor: Anchor,
}

impl ServerCertVerifier for FabricServers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |trust: &Trust| trust.verify(&joined(leaf, rest), &[Role::Server], now).map(drop);
        let verified = match &self.anchor {
            Anchor::Root(trust) => verify(trust),
            Anchor::Unrevoked(trust, crls, freshness) => {
                let chain = joined(leaf, rest);
                trust.verify_unrevoked(&chain, &[Role::Server], now, crls, *freshness).map(drop)
            }
            Anchor::Pin(pin) => Trust::pinned(pin, rest).and_then(|trust| verify(&trust)),
            Anchor::Device(trust, crls, device) => {
                let chain = joined(leaf, rest);
                let verified = match crls {
                    Some(crls) => {
                        trust.verify_unrevoked(&chain, &[Role::Agent], now, crls, Freshness::Enforced)
                    }
                    None => trust.verify(&chain, &[Role::Agent], now),
                };
                let is_it = |principal: Principal| principal.id::<()>().as_bytes() == device.as_bytes();
                verified.and_then(|peer| if is_it(peer) { Ok(()) } else { Err(ChainError::OtherDevice) })
            }
            Anchor::Nothing => Ok(()),
        };
        verified.map_err(refused)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

fn joined<'a>(leaf: &CertificateDer<'a>, rest: &[CertificateDer<'a>]) -> Vec<CertificateDer<'a>> {
    std::iter::once(leaf).chain(rest).cloned().collect()
}

/// A chain that does not pass, as a verifier says it. The alert tells the peer roughly what is wrong; the error itself stays readable on this side.
pub fn refused(error: ChainError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

fn only_tls13() -> Error {
    Error::PeerIncompatible(rustls::PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig)
}

/// A [`SigningKey`] that signs TLS handshakes.
///
/// rustls waits for the signature. A key in a token takes its time, and sees itself that no other task waits with it.
#[derive(Debug, Clone)]
pub struct TlsKey(pub SigningKey);

impl TlsKey {
    fn scheme(&self) -> SignatureScheme {
        match self.0.public() {
            PublicKey::Ed25519(_) => SignatureScheme::ED25519,
            PublicKey::P256(_) => SignatureScheme::ECDSA_NISTP256_SHA256,
        }
    }
}

impl rustls::sign::SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme()).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.0.public() {
            PublicKey::Ed25519(_) => SignatureAlgorithm::ED25519,
            PublicKey::P256(_) => SignatureAlgorithm::ECDSA,
        }
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        match self.0.public() {
            PublicKey::P256(point) => Some(SubjectPublicKeyInfoDer::from(p256_spki(point))),
            PublicKey::Ed25519(_) => None,
        }
    }
}

impl Signer for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.sign_asn1(message).map_err(|error| Error::Other(OtherError(Arc::new(error))))
    }

    fn scheme(&self) -> SignatureScheme {
        Self::scheme(self)
    }
}

/// ALPN of the agent protocol: its major version.
pub const ALPN_AGENT: &[u8] = b"klnet/1";
/// ALPN of the API.
pub const ALPN_HTTP: &[u8] = b"http/1.1";
