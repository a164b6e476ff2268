//! Enrolment: the line an administrator pastes on a device, what the device asks, and what it is given.

use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use prost::Message;
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::{Deserialize, Serialize};

use super::role::{Principal, Role};
use super::trust::{ChainError, Pin, Trust, public_key_of};
use crate::keyset::{KeySet, KeySetError};
use crate::lineage::{self, Lineage};
use crate::servers::{ServerList, ServerListError};
use crate::signed::{PublicKey, Signed};

/// What a new device sends: `POST /api/v1/enroll`. An operator's first login has the same form.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollRequest {
    /// The token, as on the pasted line.
    pub token: String,
    /// PKCS #10 request in DER, base64url.
    pub request: String,
    /// Host name of the device, or of the operator's machine.
    pub host_name: String,
    /// Its operating system.
    pub os: String,
}

/// What it is given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnrollReply {
    /// Leaf, authority, root: DER, base64url.
    pub chain: Vec<String>,
    /// Signed key set, base64url.
    pub keys: String,
    /// Signed server list, base64url.
    pub servers: String,
}

/// The reply, verified.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// Who the new certificate says its holder is.
    pub principal: Principal,
    /// The fabric's root.
    pub trust: Trust,
    /// Leaf, authority, root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key set as it was signed.
    pub keys: Signed,
    /// The server list as it was signed.
    pub servers: Signed,
}

/// Why a reply was refused.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// Something in it cannot be read.
    #[error("the server's answer cannot be read: {0}")]
    Malformed(&'static str),
    /// The chain does not pass.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The certificate is for another key than the one just made.
    #[error("the certificate is not for this device's key")]
    OtherKey,
    /// The key set does not pass.
    #[error(transparent)]
    Keys(#[from] KeySetError),
    /// The server list does not pass.
    #[error(transparent)]
    Servers(#[from] ServerListError),
}

impl EnrollRequest {
    /// The PKCS #10 request; `None` when it is not base64url or longer than [`REQUEST_LIMIT`].
    pub fn request_der(&self) -> Option<Vec<u8>> {
        let decoded = BASE64URL_NOPAD.decode(self.request.as_bytes()).ok()?;
        (decoded.len() <= REQUEST_LIMIT).then_some(decoded)
    }
}

impl fmt::Debug for EnrollRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token: _, request, host_name, os } = self;
        let mut shown = f.debug_struct("EnrollRequest");
        shown.field("token", &"[redacted]").field("request", request).field("host_name", host_name);
        shown.field("os", os).finish()
    }
}

impl EnrollReply {
    /// Packs what a new principal is given.
    pub fn new(chain: &[CertificateDer<'_>], keys: &Signed, servers: &Signed) -> Self {
        Self {
            chain: chain.iter().map(|certificate| BASE64URL_NOPAD.encode(certificate)).collect(),
            keys: encode_signed(keys),
            servers: encode_signed(servers),
        }
    }

    /// Verifies everything in the reply against the pinned root and the key that was asked for.
    ///
    /// # Errors
    /// [`EnrollError`] when anything is not as it must be.
    pub fn verify(
        &self,
        pin: &Pin,
        key: &PublicKey,
        role: Role,
        now: SystemTime,
    ) -> Result<Enrolled, EnrollError> {
        let trust = Trust::pinned(pin, &self.chain()?)?;
        self.verify_under(&trust, key, role, now)
    }

    /// Verifies everything in the reply against a root that is known, and the key that was asked for.
    ///
    /// # Errors
    /// [`EnrollError`] when anything is not as it must be.
    pub fn verify_under(
        &self,
        trust: &Trust,
        key: &PublicKey,
        role: Role,
        now: SystemTime,
    ) -> Result<Enrolled, EnrollError> {
        let chain = self.chain()?;
        let principal = trust.verify(&chain, &[role], unix(now))?;
        if public_key_of(&chain[0])? != *key {
            return Err(EnrollError::OtherKey);
        }
        let keys = decode_signed(&self.keys).ok_or(EnrollError::Malformed("key set"))?;
        let set = KeySet::verify(&keys, trust.fabric(), &trust.root_keys())?;
        let servers = decode_signed(&self.servers).ok_or(EnrollError::Malformed("server list"))?;
        ServerList::verify(&servers, trust.fabric(), &set)?;
        Ok(Enrolled { principal, trust: trust.clone(), chain, keys, servers })
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, EnrollError> {
        certificates(&self.chain)
    }
}

/// Reads certificates from their text, as many as a chain has.
pub(super) fn certificates(texts: &[String]) -> Result<Vec<CertificateDer<'static>>, EnrollError> {
    let decode = |text: &String| BASE64URL_NOPAD.decode(text.as_bytes()).map(CertificateDer::from);
    let chain: Result<Vec<_>, _> = texts.iter().take(CHAIN_LIMIT).map(decode).collect();
    chain.map_err(|_| EnrollError::Malformed("certificate chain"))
}

/// Writes a signed blob as text.
pub fn encode_signed(signed: &Signed) -> String {
    BASE64URL_NOPAD.encode(&signed.encode_to_vec())
}

/// Reads a signed blob from text; `None` when it is none.
pub fn decode_signed(text: &str) -> Option<Signed> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    Signed::decode(Bytes::from(bytes)).ok()
}

/// Writes a lineage as text.
pub fn encode_lineage(lineage: &Lineage) -> String {
    BASE64URL_NOPAD.encode(&lineage.encode_to_vec())
}

/// Reads a lineage from text; `None` when it is none, or longer than any is.
pub fn decode_lineage(text: &str) -> Option<Lineage> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok().filter(|bytes| bytes.len() <= lineage::LIMIT)?;
    Lineage::decode(Bytes::from(bytes)).ok()
}

/// Reads a root pin from the 64 hexadecimal digits of `--root`.
pub fn parse_pin(text: &str) -> Option<Pin> {
    HEXLOWER.decode(text.to_ascii_lowercase().as_bytes()).ok()?.try_into().ok()
}

/// The pin as it is printed.
pub fn print_pin(pin: &Pin) -> String {
    HEXLOWER.encode(pin)
}

/// A wall clock's time as TLS counts it; before 1970 is 1970.
pub fn unix(now: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// Longest PKCS #10 request that is read, in bytes; ours has about 250.
pub const REQUEST_LIMIT: usize = 2048;

/// Certificates of a chain that are read.
const CHAIN_LIMIT: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_never_prints_its_token() {
        let token = "canary-7f3a".to_owned();
        let asked =
            EnrollRequest { token, request: "cmVx".into(), host_name: "web-7".into(), os: "Linux".into() };
        for printed in [format!("{asked:?}"), format!("{asked:#?}")] {
            assert!(!printed.contains("canary") && printed.contains("[redacted]"), "{printed}");
            assert!(printed.contains("web-7"), "{printed}");
        }
    }
}
