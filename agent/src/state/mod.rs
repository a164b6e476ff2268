//! The agent's state folder: its identity, and the newest signed blobs of its fabric.
//!
//! | file | what | who may read |
//! |---|---|---|
//! | `device.key` | private key, PKCS #8 PEM; made here, never leaves. Of one in a token only where it is there | owner |
//! | `chain.pem` | certificates: device, authority, root | owner |
//! | `enrolment.key` | the key of an enrolment that is under way | owner |
//! | `trust.set` | the roots that the pinned one led to; not there while it is the newest | owner |
//! | `agent.json` | server, root pin, tenant, device; written last, so without it the device is not enrolled | owner |
//! | `keys.signed`, `servers.signed` | newest key set and server list, as they were signed | owner |
//! | `crl.pem` | newest revocation list of each issuing authority | owner |
//! | `next/`, `previous/`, `trial` | an identity to be taken, the one before, and until when the one in use is on trial | owner |
//! | `sync.id` | the ids last exchanged with the server, by which it notices a disk that was set back | owner |
//! | `pin.refused` | which PIN file's PIN the token has refused: not the PIN | owner |
//! | `announcer.key` | announces multicast sessions, should the device be a distribution point; made here, never leaves | owner |
//! | `received/` | what was distributed to this device | owner |
//! | `brought/` | what it brings to others | owner |
//! | `status.json` | what the running agent is doing | everybody |
//! | `lock` | held by the one agent that uses the folder | owner |

mod device;
mod keys;
mod lock;
mod moving;
mod sync;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use klnet_wire::identity::ChainError;
use klnet_wire::identity::crl::Crls;
use klnet_wire::identity::pem::{crls_from_pem, crls_to_pem, key_from_pem, key_to_pem};
use klnet_wire::identity::secret_file::write_secret;
use klnet_wire::identity::state::{CRLS, KEYS};
use klnet_wire::signed::{PublicKey, Signed};
use klnet_wire::signing::{KeyError, SigningKey};
use prost::Message;

pub use device::Device;
pub use keys::Keys;
pub use lock::Lock;
pub use moving::{Settled, TRIAL};
pub use sync::Sync;

use crate::directory::{Directory, Taken};
use crate::unix::unix_now;

/// A state folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    keys: Keys,
}

/// Why the state is not usable.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file cannot be read or written.
    #[error("{}: {error}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Nobody has enrolled this device yet.
    #[error("{} holds no identity: this device is not enrolled", .0.display())]
    NotEnrolled(PathBuf),
    /// A file's content is not what it should be.
    #[error("{} is damaged: {reason}", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What about it.
        reason: String,
    },
    /// Others may read the private key.
    #[error("{} can be read by others; run: chmod 600 {}", .0.display(), .0.display())]
    Permissions(PathBuf),
    /// The file names a key in a token, and no token is configured.
    #[error("{} names a key in a token, and device_key in the configuration names no token", .0.display())]
    NoToken(PathBuf),
    /// The private key cannot be made or used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate chain cannot be read.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Another agent uses the folder.
    #[error("another klnagent{} uses {}", .holder.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default(), .path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The process that has it, when it said so.
        holder: Option<String>,
    },
}

impl Folder {
    /// The folder at `path`, with its keys in files; nothing is read or made yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::with_keys(path, Keys::Files)
    }

    /// The folder at `path`, whose keys are elsewhere; nothing is read or made yet.
    pub fn with_keys(path: impl Into<PathBuf>, keys: Keys) -> Self {
        Self { path: path.into(), keys }
    }

    /// A folder in this one, for another identity of the same device.
    fn part(&self, name: &str) -> Self {
        Self::with_keys(self.path.join(name), self.keys.clone())
    }

    /// Where keys are made from now on.
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stores a key set that was verified and is newer.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn save_keys(&self, signed: &Signed) -> Result<(), StateError> {
        self.write(KEYS, &signed.encode_to_vec())
    }

    /// Stores a server list that was verified and is newer.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn save_servers(&self, signed: &Signed) -> Result<(), StateError> {
        self.write(SERVERS, &signed.encode_to_vec())
    }

    /// Opens what is stored of the fabric.
    ///
    /// A blob that is missing or damaged, or that no longer passes, is left out: discovery brings a new one.
    ///
    /// # Errors
    /// [`StateError::Chain`] when the root has no readable key.
    pub fn directory(&self, device: &Device) -> Result<Directory, StateError> {
        let mut directory = Directory::new(device.trust.fabric(), device.trust.root_keys());
        let keys = self.signed(KEYS).map(|keys| directory.take_keys(&keys));
        let servers = self.signed(SERVERS).map(|servers| directory.take_servers(&servers, unix_now()));
        for (file, taken) in [(KEYS, keys), (SERVERS, servers)] {
            match taken {
                Some(Ok(Taken::Newer)) => {}
                Some(Ok(Taken::Known)) | None => tracing::debug!(file, "nothing stored"),
                Some(Err(error)) => tracing::warn!(file, %error, "what is stored is left out"),
            }
        }
        Ok(directory)
    }

    /// Stores revocation lists that were verified, one of them newer.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn save_crls(&self, crls: &Crls) -> Result<(), StateError> {
        self.write(CRLS, crls_to_pem(&crls.all()).as_bytes())
    }

    /// The stored revocation lists of `issuers`; what does not pass is left out, and discovery brings it anew.
    pub fn crls(&self, issuers: &[PublicKey]) -> Crls {
        let crls = Crls::default();
        let stored = self.read(CRLS).ok().and_then(|text| crls_from_pem(&text)).unwrap_or_default();
        for error in crls.update(issuers, &stored).1 {
            tracing::warn!(%error, "a stored revocation list is left out");
        }
        crls
    }

    /// The key that announces multicast sessions; made when there is none.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn announcer(&self) -> Result<SigningKey, StateError> {
        if let Some(key) = self.read(ANNOUNCER).ok().and_then(|text| key_from_pem(&text)) {
            return Ok(key);
        }
        let key = SigningKey::generate_ed25519();
        self.write(ANNOUNCER, key_to_pem(&key).as_bytes())?;
        Ok(key)
    }

    fn signed(&self, file: &str) -> Option<Signed> {
        Signed::decode(Bytes::from(self.read_bytes(file)?)).ok()
    }

    fn read_bytes(&self, file: &str) -> Option<Vec<u8>> {
        fs::read(self.file(file)).ok()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        let path = self.file(name);
        write_secret(&path, content).map_err(|error| StateError::Io { path, error })
    }

    fn read(&self, name: &str) -> Result<String, StateError> {
        let path = self.file(name);
        fs::read_to_string(&path).map_err(|error| StateError::Io { path, error })
    }
}

/// Writes a file that everybody may read, so that a reader sees the old or the new one, whole.
///
/// # Errors
/// What the file system says.
pub fn write_public(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let mut file = options.open(&temporary)?;
    // The service runs under a mask that hides everything from others; this file is for them.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    file.write_all(content)?;
    fs::rename(&temporary, path)
}

const SERVERS: &str = "servers.signed";
const ANNOUNCER: &str = "announcer.key";

#[cfg(test)]
mod tests;
