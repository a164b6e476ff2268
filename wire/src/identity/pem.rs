//! Certificates and private keys in PEM (RFC 7468).

use std::sync::Arc;

use ::pem::{Pem, encode, parse, parse_many};
use rustls_pki_types::CertificateDer;

use super::crl::Crl;
use super::tls::Identity;
use super::trust::public_key_of;
use crate::signing::SigningKey;

/// A key and its certificates in one text: PKCS #8, then the chain. A file of it is replaced as a whole.
pub fn identity_to_pem(identity: &Identity) -> String {
    key_to_pem(&identity.key) + &chain_to_pem(&identity.chain)
}

/// Reads a key and its certificates; `None` when they do not belong together.
pub fn identity_from_pem(text: &str) -> Option<Identity> {
    let certificates = text.find(CERTIFICATE)?;
    let (key, chain) = (key_from_pem(&text[..certificates])?, chain_from_pem(&text[certificates..])?);
    (public_key_of(chain.first()?).ok()? == *key.public()).then_some(Identity { chain, key })
}

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

/// Revocation lists in PEM (RFC 7468, 6).
pub fn crls_to_pem(crls: &[Arc<Crl>]) -> String {
    crls.iter().map(|crl| encode(&Pem::new(CRL, crl.der()))).collect()
}

/// Reads revocation lists from PEM, unverified; `None` when there is anything else.
pub fn crls_from_pem(text: &str) -> Option<Vec<Vec<u8>>> {
    let blocks = parse_many(text).ok()?;
    blocks.into_iter().map(|block| (block.tag() == CRL).then(|| block.into_contents())).collect()
}

/// What a key file holds: a private key in PEM, as PKCS #8; or of one in a token only where it is there.
///
/// # Panics
/// Never: a key is in this process or in a token.
pub fn key_to_pem(key: &SigningKey) -> String {
    let pem = key.to_pkcs8().map(|pkcs8| encode(&Pem::new("PRIVATE KEY", pkcs8.to_vec())));
    pem.or_else(|| Some(key.object_uri()? + "\n")).expect("a key is held here or in a token")
}

/// Reads a private key from PEM; `None` when it is none of ours.
pub fn key_from_pem(text: &str) -> Option<SigningKey> {
    let block = parse(text).ok()?;
    if block.tag() != "PRIVATE KEY" {
        return None;
    }
    SigningKey::from_pkcs8(block.contents()).ok()
}

const CRL: &str = "X509 CRL";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
