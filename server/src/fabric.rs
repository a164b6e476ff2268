//! The fabric's keys and certificates on disk.
//!
//! | file | what | may go offline |
//! |---|---|---|
//! | `root.key` | signs the issuing authority and the key set | yes, at once |
//! | `root.pem` | every root there ever was, the newest first | no |
//! | `lineage.signed` | each set of roots signed by a root of the set before; not there before the first rotation | no |
//! | `authority.pem`, `authority.key` | issue servers, devices and operators | no |
//! | `authority.old.pem`, `authority.old.key` | issued before the last rotation | no |
//! | `server.revoked` | serial numbers of server certificates that were revoked; not there before the first | no |
//! | `server.identity`, `server.reserve`, `server.hosts` | this server's own certificate with its key, and the next one | no |
//! | `grant.key`, `directory.key` | sign grants and server lists | no |
//! | `distribution.key` | signs what is distributed, and makes the keys of its groups; a fabric of an earlier version has none before its next rotation | no |
//! | `keys.signed` | the key set, signed by the root | no |
//! | `fabric.json` | identifiers of tenant and server | no |
//!
//! Private keys are readable by their owner only.

mod distribution;
mod rotation;
pub(crate) mod server;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use klnet_wire::id::{FabricId, ServerId, TenantId};
use klnet_wire::identity::authority::{Authority, IssueError, ROOT_LIFE, make_root};
use klnet_wire::identity::pem::{chain_from_pem, chain_to_pem, key_from_pem, key_to_pem};
use klnet_wire::identity::secret_file::write_secret;
use klnet_wire::identity::{ChainError, Trust};
use klnet_wire::keyset::{Key, KeySet, KeySetError, Purpose};
use klnet_wire::lineage::Lineage;
use klnet_wire::signed::{Context, PublicKey, Signed};
use klnet_wire::signing::SigningKey;
use prost::Message;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::unix::seconds;
pub use distribution::{DistributionKey, Epoch};

/// The keys and certificates a running server needs. The root's key is not among them.
#[derive(Debug)]
pub struct Fabric {
    folder: PathBuf,
    tenant: TenantId,
    server: ServerId,
    /// Every root there ever was: under one of them a certificate may be renewed.
    ever: Trust,
    lineage: Lineage,
    authority: Authority,
    /// The authority before the last rotation.
    previous: Option<Authority>,
    revoked_servers: Vec<Vec<u8>>,
    grant_key: SigningKey,
    directory_key: SigningKey,
    distribution: Option<DistributionKey>,
    keys: KeySet,
    signed_keys: Signed,
}

/// Why a fabric cannot be made or loaded.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    /// There is one already.
    #[error("{} holds a fabric already; it is not made twice", .0.display())]
    Exists(PathBuf),
    /// There is none.
    #[error("{} holds no fabric; make one with: klserver init", .0.display())]
    Missing(PathBuf),
    /// The file system refused.
    #[error("{}: {error}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file is damaged.
    #[error("{} is damaged: {what}", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was expected there.
        what: &'static str,
    },
    /// A certificate could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// A certificate does not pass.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The key set does not pass.
    #[error(transparent)]
    Keys(#[from] KeySetError),
    /// The next root is to be signed by another key.
    #[error("this is not the key of the fabric's newest root")]
    RootKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    tenant: String,
    server: String,
}

impl Fabric {
    /// Makes a new fabric in `folder`: root, authority, signing keys, key set.
    ///
    /// # Errors
    /// [`FabricError::Exists`] when there is one, or what the file system says.
    pub fn init(folder: &Path, now: SystemTime) -> Result<Self, FabricError> {
        if folder.join(NAMES).exists() {
            return Err(FabricError::Exists(folder.to_owned()));
        }
        let (root_key, authority_key) = (SigningKey::generate_p256(), SigningKey::generate_p256());
        let trust = make_root(&root_key, now)?;
        let authority = Authority::make(trust.clone(), &root_key, authority_key.clone(), now)?;
        let (grant_key, directory_key) = (SigningKey::generate_ed25519(), SigningKey::generate_ed25519());
        let distribution_key = SigningKey::generate_ed25519();
        let keys = vec![
            key(Purpose::Grant, grant_key.public(), now),
            key(Purpose::Directory, directory_key.public(), now),
            key(Purpose::Issue, authority_key.public(), now),
            key(Purpose::Distribute, distribution_key.public(), now),
        ];
        let keys = key_set(trust.fabric(), 1, keys);
        let signed = root_key.sign(Context::KeySet, keys.encode_to_vec().into());
        let names = Names { tenant: TenantId::random().to_string(), server: ServerId::random().to_string() };
        for (name, key) in [
            (ROOT_KEY, &root_key),
            (AUTHORITY_KEY, &authority_key),
            (GRANT_KEY, &grant_key),
            (DIRECTORY_KEY, &directory_key),
            (DISTRIBUTION_KEY, &distribution_key),
        ] {
            write(folder, name, key_to_pem(key).as_bytes())?;
        }
        write(folder, ROOT, chain_to_pem(std::slice::from_ref(trust.root())).as_bytes())?;
        write(folder, AUTHORITY, chain_to_pem(std::slice::from_ref(authority.certificate())).as_bytes())?;
        write(folder, KEYS, &signed.encode_to_vec())?;
        // Last: a fabric is there once this is.
        let names = serde_json::to_vec_pretty(&names).expect("strings can be written as JSON");
        write(folder, NAMES, &names)?;
        Self::load(folder)
    }

    /// Loads the fabric in `folder` and checks that its parts belong together.
    ///
    /// # Errors
    /// [`FabricError`] names the file.
    pub fn load(folder: &Path) -> Result<Self, FabricError> {
        if !folder.join(NAMES).exists() {
            return Err(FabricError::Missing(folder.to_owned()));
        }
        let _lock = rotation::lock(folder)?;
        Self::load_locked(folder)
    }

    fn load_locked(folder: &Path) -> Result<Self, FabricError> {
        rotation::finish(folder)?;
        let names: Names =
            read_as(folder, NAMES, "names of tenant and server", |bytes| serde_json::from_slice(bytes).ok())?;
        let id = |text: &str, what| damaged(folder, NAMES, what, text.parse().ok());
        let roots = certificates(folder, ROOT)?;
        let first = Trust::new(damaged(folder, ROOT, "a root certificate", roots.last().cloned())?)?;
        let lineage = lineage(folder)?;
        let trust = first.follow(&lineage).unwrap_or_else(|| first.clone());
        let authority = Authority::restore(
            trust.clone(),
            certificate(folder, AUTHORITY)?,
            signing_key(folder, AUTHORITY_KEY)?,
        );
        damaged(
            folder,
            AUTHORITY_KEY,
            "the key of the authority's certificate",
            authority.owns_its_key().then_some(()),
        )?;
        let signed_keys = read_as(folder, KEYS, "a signed key set", |bytes| Signed::decode(bytes).ok())?;
        let keys = KeySet::verify(&signed_keys, trust.fabric(), &trust.root_keys())?;
        let previous = match folder.join(OLD_AUTHORITY).exists() {
            false => None,
            true => Some(Authority::restore(
                trust.clone(),
                certificate(folder, OLD_AUTHORITY)?,
                signing_key(folder, OLD_AUTHORITY_KEY)?,
            )),
        };
        Ok(Self {
            folder: folder.to_owned(),
            tenant: id(&names.tenant, "a tenant's identifier")?,
            server: ServerId::new(*id(&names.server, "a server's identifier")?.as_bytes()),
            ever: first.under(roots),
            lineage,
            authority,
            previous,
            revoked_servers: server::revoked(folder)?,
            grant_key: signing_key(folder, GRANT_KEY)?,
            directory_key: signing_key(folder, DIRECTORY_KEY)?,
            distribution: match folder.join(DISTRIBUTION_KEY).exists() {
                false => None,
                true => Some(DistributionKey::new(signing_key(folder, DISTRIBUTION_KEY)?)),
            },
            keys,
            signed_keys,
        })
    }

    /// Signs a grant.
    pub fn sign_grant(&self, bytes: Bytes) -> Signed {
        self.grant_key.sign(Context::Grant, bytes)
    }

    /// Signs a server list.
    pub fn sign_servers(&self, bytes: Bytes) -> Signed {
        self.directory_key.sign(Context::ServerList, bytes)
    }

    /// What signs for distribution; none in a fabric of an earlier version, before its next rotation.
    pub const fn distribution(&self) -> Option<&DistributionKey> {
        self.distribution.as_ref()
    }

    /// The root everything is verified against.
    pub const fn trust(&self) -> &Trust {
        self.authority.trust()
    }

    /// Every root there ever was: under one of them a certificate may be renewed, and do nothing else.
    pub const fn ever(&self) -> &Trust {
        &self.ever
    }

    /// How the first root led to the newest.
    pub const fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Every authority whose certificates are good: the newest, and the one before the last rotation.
    pub fn authorities(&self) -> impl Iterator<Item = &Authority> {
        std::iter::once(&self.authority).chain(&self.previous)
    }

    /// Serial numbers of server certificates that were revoked.
    pub fn revoked_servers(&self) -> &[Vec<u8>] {
        &self.revoked_servers
    }

    /// The issuing authority.
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The tenant of this server itself.
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// This server.
    pub const fn server(&self) -> ServerId {
        self.server
    }

    /// The key set.
    pub const fn keys(&self) -> &KeySet {
        &self.keys
    }

    /// The key set as the root signed it.
    pub const fn signed_keys(&self) -> &Signed {
        &self.signed_keys
    }
}

fn key_set(fabric: FabricId, version: u64, keys: Vec<Key>) -> KeySet {
    KeySet { fabric: Bytes::copy_from_slice(fabric.as_bytes()), version, keys }
}

fn key(purpose: Purpose, key: &PublicKey, now: SystemTime) -> Key {
    Key {
        purpose: purpose.into(),
        public: Bytes::copy_from_slice(key.as_bytes()),
        not_before: seconds(now),
        not_after: seconds(now + ROOT_LIFE),
    }
}

fn write(folder: &Path, name: &str, content: &[u8]) -> Result<(), FabricError> {
    let path = folder.join(name);
    write_secret(&path, content).map_err(|error| FabricError::Io { path, error })
}

fn read_as<T>(
    folder: &Path,
    name: &str,
    what: &'static str,
    parse: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T, FabricError> {
    let path = folder.join(name);
    let bytes = fs::read(&path).map_err(|error| FabricError::Io { path: path.clone(), error })?;
    damaged(folder, name, what, parse(&bytes))
}

fn damaged<T>(folder: &Path, name: &str, what: &'static str, value: Option<T>) -> Result<T, FabricError> {
    value.ok_or_else(|| FabricError::Damaged { path: folder.join(name), what })
}

fn certificate(folder: &Path, name: &str) -> Result<CertificateDer<'static>, FabricError> {
    let one = <[CertificateDer<'static>; 1]>::try_from(certificates(folder, name)?);
    damaged(folder, name, "one certificate in PEM", one.ok().map(|[certificate]| certificate))
}

fn certificates(folder: &Path, name: &str) -> Result<Vec<CertificateDer<'static>>, FabricError> {
    read_as(folder, name, "certificates in PEM", |bytes| chain_from_pem(std::str::from_utf8(bytes).ok()?))
}

fn lineage(folder: &Path) -> Result<Lineage, FabricError> {
    match folder.join(LINEAGE).exists() {
        true => read_as(folder, LINEAGE, "the signed sets of roots", |bytes| Lineage::decode(bytes).ok()),
        false => Ok(Lineage::default()),
    }
}

fn signing_key(folder: &Path, name: &str) -> Result<SigningKey, FabricError> {
    read_as(folder, name, "a private key in PEM", |bytes| key_from_pem(std::str::from_utf8(bytes).ok()?))
}

const NAMES: &str = "fabric.json";
const ROOT: &str = "root.pem";
const ROOT_KEY: &str = "root.key";
const AUTHORITY: &str = "authority.pem";
const AUTHORITY_KEY: &str = "authority.key";
const OLD_AUTHORITY: &str = "authority.old.pem";
const OLD_AUTHORITY_KEY: &str = "authority.old.key";
const LINEAGE: &str = "lineage.signed";
const GRANT_KEY: &str = "grant.key";
const DIRECTORY_KEY: &str = "directory.key";
const DISTRIBUTION_KEY: &str = "distribution.key";
const KEYS: &str = "keys.signed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fabric_survives_its_folder_and_runs_without_the_root_key() {
        let folder = tempfile::tempdir().unwrap();
        let made = Fabric::init(folder.path(), SystemTime::now()).unwrap();
        fs::remove_file(folder.path().join(ROOT_KEY)).unwrap();
        let again = Fabric::load(folder.path()).unwrap();
        assert_eq!(
            (again.tenant(), again.server(), again.trust()),
            (made.tenant(), made.server(), made.trust())
        );
        assert!(matches!(Fabric::init(folder.path(), SystemTime::now()), Err(FabricError::Exists(_))));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        Fabric::init(folder.path(), SystemTime::now()).unwrap();
        for name in [ROOT, AUTHORITY, AUTHORITY_KEY, GRANT_KEY, DIRECTORY_KEY, DISTRIBUTION_KEY, KEYS, NAMES]
        {
            let whole = fs::read(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name), b"garbage").unwrap();
            let error = Fabric::load(folder.path()).unwrap_err();
            assert!(
                error.to_string().contains(name) || matches!(error, FabricError::Keys(_)),
                "{name}: {error}"
            );
            fs::write(folder.path().join(name), whole).unwrap();
        }
        Fabric::load(folder.path()).unwrap();
    }
}
