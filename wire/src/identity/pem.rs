//! Certificates and private keys in PEM (RFC 7468).

use ::pem::{Pem, encode, parse, parse_many};
use rustls_pki_types::CertificateDer;

use crate::signing::SigningKey;

/// Certificates in PEM (RFC 7468).
pub fn chain_to_pem(chain: &[CertificateDer<'_>]) -> String {
    let one = |certificate: &CertificateDer<'_>| encode(&Pem::new("CERTIFICATE", certificate.to_vec()));
    chain.iter().map(one).collect()
}

/// Reads certificates from PEM; `None` when there is anything else.
pub fn chain_from_pem(text: &str) -> Option<Vec<CertificateDer<'static>>> {
    let blocks = parse_many(text).ok()?;
    let certificate =
        |block: Pem| (block.tag() == "CERTIFICATE").then(|| CertificateDer::from(block.into_contents()));
    blocks.into_iter().map(certificate).collect()
}

/// A private key in PEM: PKCS #8.
pub fn key_to_pem(key: &SigningKey) -> String {
    encode(&Pem::new("PRIVATE KEY", key.to_pkcs8().to_vec()))
}

/// Reads a private key from PEM; `None` when it is none of ours.
pub fn key_from_pem(text: &str) -> Option<SigningKey> {
    let block = parse(text).ok()?;
    if block.tag() != "PRIVATE KEY" {
        return None;
    }
    SigningKey::from_pkcs8(block.contents()).ok()
}
