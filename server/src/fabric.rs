//! The fabric's keys and certificates on disk.
//!
//! | file | what | may go offline |
//! |---|---|---|
//! | `root.key` | signs the issuing authority and the key set | yes, at once |
//! | `root.pem`, `authority.pem`, `authority.key` | issue servers, devices and operators | no |
//! | `server.pem`, `server.key`, `server.hosts` | this server's own certificate, made anew when it must be | no |
//! | `grant.key`, `directory.key` | sign grants and server lists | no |
//! | `keys.signed` | the key set, signed by the root | no |
//! | `fabric.json` | identifiers of tenant and server | no |
//!
//! Private keys are readable by their owner only.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use klnet_wire::id::{ServerId, TenantId};
use klnet_wire::identity::authority::{Authority, IssueError, Leaf, ROOT_LIFE, SERVER_LIFE, make_root};
use klnet_wire::identity::pem::{chain_from_pem, chain_to_pem, key_from_pem, key_to_pem};
use klnet_wire::identity::secret_file::write_secret;
use klnet_wire::identity::tls::Identity;
use klnet_wire::identity::{ChainError, Principal, Role, Trust};
use klnet_wire::keyset::{Key, KeySet, KeySetError, Purpose};
use klnet_wire::signed::{Context, Signed};
use klnet_wire::signing::SigningKey;
use prost::Message;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::unix::seconds;

/// The keys and certificates a running server needs. The root's key is not among them.
#[derive(Debug)]
pub struct Fabric {
    folder: PathBuf,
    tenant: TenantId,
    server: ServerId,
    authority: Authority,
    grant_key: SigningKey,
    directory_key: SigningKey,
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
        let keys = KeySet {
            fabric: Bytes::copy_from_slice(trust.fabric().as_bytes()),
            version: 1,
            keys: vec![key(Purpose::Grant, &grant_key, now), key(Purpose::Directory, &directory_key, now)],
        };
        let signed = root_key.sign(Context::KeySet, keys.encode_to_vec().into());
        let names = Names { tenant: TenantId::random().to_string(), server: ServerId::random().to_string() };
        for (name, key) in [
            (ROOT_KEY, &root_key),
            (AUTHORITY_KEY, &authority_key),
            (GRANT_KEY, &grant_key),
            (DIRECTORY_KEY, &directory_key),
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
        let names: Names =
            read_as(folder, NAMES, "names of tenant and server", |bytes| serde_json::from_slice(bytes).ok())?;
        let id = |text: &str, what| damaged(folder, NAMES, what, text.parse().ok());
        let trust = Trust::new(certificate(folder, ROOT)?)?;
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
        let keys = KeySet::verify(&signed_keys, trust.fabric(), &trust.root_key()?)?;
        Ok(Self {
            folder: folder.to_owned(),
            tenant: id(&names.tenant, "a tenant's identifier")?,
            server: ServerId::new(*id(&names.server, "a server's identifier")?.as_bytes()),
            authority,
            grant_key: signing_key(folder, GRANT_KEY)?,
            directory_key: signing_key(folder, DIRECTORY_KEY)?,
            keys,
            signed_keys,
        })
    }

    /// This server's certificate for these host names: the stored one while it is good, otherwise a new one.
    ///
    /// # Errors
    /// [`FabricError`] when a new one cannot be made or written.
    pub fn server_identity(&self, hosts: &[String], now: SystemTime) -> Result<Identity, FabricError> {
        match self.stored_identity(hosts, now) {
            Some(identity) => Ok(identity),
            None => self.new_identity(hosts, now),
        }
    }

    fn stored_identity(&self, hosts: &[String], now: SystemTime) -> Option<Identity> {
        let made_for = fs::read_to_string(self.folder.join(SERVER_HOSTS)).ok()?;
        let chain = chain_from_pem(&fs::read_to_string(self.folder.join(SERVER)).ok()?)?;
        let key = key_from_pem(&fs::read_to_string(self.folder.join(SERVER_KEY)).ok()?)?;
        let later = klnet_wire::identity::enroll::unix(now + SERVER_RENEWAL);
        let good =
            made_for == hosts.join("\n") && self.trust().verify(&chain, &[Role::Server], later).is_ok();
        good.then_some(Identity { chain, key })
    }

    fn new_identity(&self, hosts: &[String], now: SystemTime) -> Result<Identity, FabricError> {
        let key = SigningKey::generate_p256();
        let (fabric, tenant, id) = (self.trust().fabric(), self.tenant, *self.server.as_bytes());
        let principal = Principal { fabric, tenant, role: Role::Server, id, serial: Vec::new() };
        let leaf = Leaf::new(principal, hosts.to_vec(), now, SERVER_LIFE);
        let chain = self.authority.issue(key.public(), &leaf)?;
        write(&self.folder, SERVER_KEY, key_to_pem(&key).as_bytes())?;
        write(&self.folder, SERVER, chain_to_pem(&chain).as_bytes())?;
        write(&self.folder, SERVER_HOSTS, hosts.join("\n").as_bytes())?;
        Ok(Identity { chain, key })
    }

    /// Signs a grant.
    pub fn sign_grant(&self, bytes: Bytes) -> Signed {
        self.grant_key.sign(Context::Grant, bytes)
    }

    /// Signs a server list.
    pub fn sign_servers(&self, bytes: Bytes) -> Signed {
        self.directory_key.sign(Context::ServerList, bytes)
    }

    /// The root everything is verified against.
    pub const fn trust(&self) -> &Trust {
        self.authority.trust()
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

fn key(purpose: Purpose, key: &SigningKey, now: SystemTime) -> Key {
    Key {
        purpose: purpose.into(),
        public: Bytes::copy_from_slice(key.public().as_bytes()),
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
    read_as(folder, name, "a certificate in PEM", |bytes| {
        let chain = chain_from_pem(std::str::from_utf8(bytes).ok()?)?;
        <[CertificateDer<'static>; 1]>::try_from(chain).ok().map(|[certificate]| certificate)
    })
}

fn signing_key(folder: &Path, name: &str) -> Result<SigningKey, FabricError> {
    read_as(folder, name, "a private key in PEM", |bytes| key_from_pem(std::str::from_utf8(bytes).ok()?))
}

const NAMES: &str = "fabric.json";
const ROOT: &str = "root.pem";
const ROOT_KEY: &str = "root.key";
const AUTHORITY: &str = "authority.pem";
const AUTHORITY_KEY: &str = "authority.key";
const SERVER: &str = "server.pem";
const SERVER_KEY: &str = "server.key";
const SERVER_HOSTS: &str = "server.hosts";
const GRANT_KEY: &str = "grant.key";
const DIRECTORY_KEY: &str = "directory.key";
const KEYS: &str = "keys.signed";

/// A server's certificate is made anew this long before its end.
const SERVER_RENEWAL: Duration = Duration::from_secs(90 * 86_400);

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
    fn the_servers_certificate_is_kept_while_it_is_good_and_fits() {
        let folder = tempfile::tempdir().unwrap();
        let (now, hosts) = (SystemTime::now(), vec!["localhost".to_owned()]);
        let fabric = Fabric::init(folder.path(), now).unwrap();
        let first = fabric.server_identity(&hosts, now).unwrap();
        assert_eq!(fabric.server_identity(&hosts, now).unwrap().chain, first.chain);
        assert_ne!(fabric.server_identity(&["127.0.0.1".to_owned()], now).unwrap().chain, first.chain);
        let late = now + SERVER_LIFE - SERVER_RENEWAL / 2;
        let renewed = fabric.server_identity(&["127.0.0.1".to_owned()], late).unwrap();
        assert!(
            fabric
                .trust()
                .verify(&renewed.chain, &[Role::Server], klnet_wire::identity::enroll::unix(late))
                .is_ok()
        );
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        Fabric::init(folder.path(), SystemTime::now()).unwrap();
        for name in [ROOT, AUTHORITY, AUTHORITY_KEY, GRANT_KEY, DIRECTORY_KEY, KEYS, NAMES] {
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
