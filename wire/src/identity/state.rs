//! What a device's state folder says of who it is and whom it believes: for whatever serves beside its agent, in its name.
//!
//! The agent alone writes there. Each file is replaced as a whole, several one after the other: whoever reads in between may
//! find files that do not belong together, and reads them again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;

use super::crl;
use super::pem::{chain_from_pem, crls_from_pem, key_from_pem};
use super::secret_file::others_may_read;
use super::tls::Identity;
use super::trust::public_key_of;
use super::{Principal, Trust};
use crate::keyset::{self, KeySet, Purpose};
use crate::lineage::{ROOTS_LIMIT, TrustSet};
use crate::signed::{PublicKey, Signed};

/// A device, as its state folder has it.
#[derive(Debug, Clone)]
pub struct State {
    /// Chain and key.
    pub identity: Identity,
    /// The roots of its fabric.
    pub trust: Trust,
    /// Who issues certificates there, and signs lists of those that are revoked.
    pub issuers: Vec<PublicKey>,
    /// Revocation lists in DER, unverified; none before the agent has fetched any.
    pub crls: Vec<Vec<u8>>,
}

/// Why a state folder is not usable.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// No device is enrolled there, or another is just taking its place.
    #[error("{} holds no identity: klnagent enroll makes one", .0.display())]
    NotEnrolled(PathBuf),
    /// Others may read the private key.
    #[error("{} can be read by others; run: chmod 600 {}", .0.display(), .0.display())]
    Permissions(PathBuf),
    /// The private key is in a token, which its agent alone opens.
    #[error("{} names a key in a token, which only the agent itself can use", .0.display())]
    InToken(PathBuf),
    /// A file is not what it should be.
    #[error("{} is damaged: {reason}", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What about it.
        reason: String,
    },
}

impl State {
    /// The files that all of this is read from.
    pub const FILES: [&str; 6] = [AGENT, KEY, CHAIN, TRUST, KEYS, CRLS];

    /// Reads a state folder.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn read(folder: &Path) -> Result<Self, StateError> {
        let files = Files(folder);
        if !files.path(AGENT).exists() {
            return Err(StateError::NotEnrolled(folder.to_owned()));
        }
        let identity = files.identity()?;
        let trust = files.trust(&identity)?;
        let issuers = files.issuers(&trust)?;
        Ok(Self { identity, trust, issuers, crls: files.crls()? })
    }
}

struct Files<'a>(&'a Path);

impl Files<'_> {
    fn identity(&self) -> Result<Identity, StateError> {
        let path = self.path(KEY);
        let metadata = fs::metadata(&path).map_err(|error| StateError::Io { path: path.clone(), error })?;
        if others_may_read(&metadata) {
            return Err(StateError::Permissions(path));
        }
        let (key, chain) = (self.text(KEY, FILE_LIMIT)?, self.text(CHAIN, FILE_LIMIT)?);
        if key.starts_with("pkcs11:") {
            return Err(StateError::InToken(path));
        }
        let key = key_from_pem(&key).ok_or_else(|| self.damaged(KEY, "not a private key in PEM"))?;
        let chain = chain_from_pem(&chain).ok_or_else(|| self.damaged(CHAIN, "not certificates in PEM"))?;
        let public = chain.first().map(public_key_of);
        match public {
            Some(Ok(public)) if public == *key.public() => Ok(Identity { chain, key }),
            _ => Err(self.damaged(CHAIN, "it is not the certificate of the key in device.key")),
        }
    }

    /// The roots that the fabric's lineage led to, or the one that was pinned.
    fn trust(&self, identity: &Identity) -> Result<Trust, StateError> {
        let trust = match self.bytes(TRUST, ROOTS_LIMIT * FILE_LIMIT)? {
            Some(bytes) => {
                let set = TrustSet::decode(Bytes::from(bytes)).map_err(|error| self.damaged(TRUST, error))?;
                Trust::of_set(&set).map_err(|error| self.damaged(TRUST, error))?
            }
            None => {
                let root =
                    identity.chain.last().cloned().ok_or_else(|| self.damaged(CHAIN, "it is empty"))?;
                Trust::new(root).map_err(|error| self.damaged(CHAIN, error))?
            }
        };
        let principal = identity.chain.first().and_then(Principal::named_in);
        match principal.is_some_and(|principal| principal.fabric == trust.fabric()) {
            true => Ok(trust),
            false => Err(self.damaged(CHAIN, "its fabric is not the one of the roots")),
        }
    }

    fn issuers(&self, trust: &Trust) -> Result<Vec<PublicKey>, StateError> {
        let Some(bytes) = self.bytes(KEYS, keyset::LIMIT + FILE_LIMIT)? else { return Ok(Vec::new()) };
        let signed = Signed::decode(Bytes::from(bytes)).map_err(|error| self.damaged(KEYS, error))?;
        let verified = KeySet::verify(&signed, trust.fabric(), &trust.root_keys());
        let keys = verified.map_err(|error| self.damaged(KEYS, error))?;
        Ok(keys.of(Purpose::Issue).collect())
    }

    fn crls(&self) -> Result<Vec<Vec<u8>>, StateError> {
        let Some(bytes) = self.bytes(CRLS, CRLS_LIMIT)? else { return Ok(Vec::new()) };
        let lists = String::from_utf8(bytes).ok().and_then(|text| crls_from_pem(&text));
        // Who has none has no file.
        let lists = lists.filter(|lists| !lists.is_empty());
        lists.ok_or_else(|| self.damaged(CRLS, "not revocation lists in PEM"))
    }

    fn text(&self, name: &str, limit: usize) -> Result<String, StateError> {
        let missing = || StateError::Io { path: self.path(name), error: io::ErrorKind::NotFound.into() };
        let bytes = self.bytes(name, limit)?.ok_or_else(missing)?;
        String::from_utf8(bytes).map_err(|_| self.damaged(name, "not text"))
    }

    /// `None` when there is no such file.
    fn bytes(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.path(name);
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(&path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) if bytes.len() > limit => {
                Err(self.damaged(name, format_args!("it exceeds the limit of {limit} bytes")))
            }
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StateError::Io { path, error }),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn damaged(&self, name: &str, reason: impl ToString) -> StateError {
        StateError::Damaged { path: self.path(name), reason: reason.to_string() }
    }
}

/// Server, pin and names; the last file of an identity that is written and the first that goes.
pub const AGENT: &str = "agent.json";
/// The private key.
pub const KEY: &str = "device.key";
/// The certificate chain.
pub const CHAIN: &str = "chain.pem";
/// The roots, once they are not the pinned one alone.
pub const TRUST: &str = "trust.set";
/// The newest key set.
pub const KEYS: &str = "keys.signed";
/// The newest revocation list of each issuer.
pub const CRLS: &str = "crl.pem";

/// Bytes of a chain, of a key, and of one root in a set: more than any has.
const FILE_LIMIT: usize = 64 << 10;
/// Bytes of two lists of the greatest length in PEM.
const CRLS_LIMIT: usize = 3 * crl::LIMIT;

#[cfg(test)]
mod tests;
