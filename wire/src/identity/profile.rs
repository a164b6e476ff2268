//! An operator's profile: one file with everything `klctl` and `klsctunnel` need to be that operator.
//!
//! The private key never leaves the machine it was made on; the file is readable by its owner only.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::chain_error::ChainError;
use super::pem::{chain_from_pem, chain_to_pem, key_from_pem, key_to_pem};
use super::role::Principal;
use super::secret_file::{others_may_read, write_secret};
use super::tls::Identity;
use super::trust::Trust;

/// An operator, where to reach their server, and how to prove who they are.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Base of the API: `https://HOST[:PORT]`.
    pub url: String,
    /// The operator's name, as the server knows it.
    pub name: String,
    /// The fabric's root.
    pub trust: Trust,
    /// The operator's chain and key.
    pub identity: Identity,
}

/// The file's content.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    url: String,
    name: String,
    /// PEM: leaf, authority, root.
    chain: String,
    /// PEM: PKCS #8.
    key: String,
}

/// Why a profile is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file cannot be read or written.
    #[error("profile {}: {error}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file's content is not a profile.
    #[error("profile {}: not a profile: {reason}", .path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What about it.
        reason: String,
    },
    /// Others may read the private key.
    #[error("profile {} can be read by others; run: chmod 600 {}", .0.display(), .0.display())]
    Permissions(PathBuf),
    /// The certificate chain cannot be read.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// [`ProfileError`], also when others may read the file.
    pub fn load(path: &Path) -> Result<Self, ProfileError> {
        let io = |error| ProfileError::Io { path: path.to_owned(), error };
        if others_may_read(&fs::metadata(path).map_err(io)?) {
            return Err(ProfileError::Permissions(path.to_owned()));
        }
        let text = fs::read_to_string(path).map_err(io)?;
        let malformed = |reason: String| ProfileError::Malformed { path: path.to_owned(), reason };
        let file: File = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        let chain = chain_from_pem(&file.chain).ok_or_else(|| malformed("certificates".into()))?;
        let key = key_from_pem(&file.key).ok_or_else(|| malformed("private key".into()))?;
        let root = chain.last().ok_or_else(|| malformed("no certificates".into()))?;
        let trust = Trust::new(root.clone())?;
        Ok(Self { url: file.url, name: file.name, trust, identity: Identity { chain, key } })
    }

    /// Writes the profile, readable by its owner only, whole or not at all.
    ///
    /// # Errors
    /// [`ProfileError::Io`] when the file system refuses.
    pub fn save(&self, path: &Path) -> Result<(), ProfileError> {
        let (chain, key) = (chain_to_pem(&self.identity.chain), key_to_pem(&self.identity.key));
        let file = File { url: self.url.clone(), name: self.name.clone(), chain, key };
        let text = serde_json::to_string_pretty(&file).expect("strings can be written as JSON");
        write_secret(path, text.as_bytes()).map_err(|error| ProfileError::Io { path: path.to_owned(), error })
    }

    /// Who the profile's certificate says the operator is.
    pub fn principal(&self) -> Option<Principal> {
        Principal::named_in(self.identity.chain.first()?)
    }

    /// Where a profile is kept unless told otherwise: `klnet/default.profile` in the user's configuration folder.
    pub fn default_path() -> Option<PathBuf> {
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
        Some(config.or_else(home)?.join("klnet").join("default.profile"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TenantId;
    use crate::identity::Role;
    use crate::identity::authority::{Authority, Leaf, OPERATOR_LIFE, make_root};
    use crate::signing::SigningKey;
    use std::time::SystemTime;

    #[test]
    fn a_profile_survives_its_file_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("default.profile");
        let profile = profile();
        profile.save(&path).unwrap();
        let again = Profile::load(&path).unwrap();
        assert_eq!(again.principal(), profile.principal());
        assert_eq!(again.identity.key.public(), profile.identity.key.public());
        assert_eq!(again.trust, profile.trust);
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(Profile::load(&path), Err(ProfileError::Permissions(_))));
    }

    #[test]
    fn a_file_that_is_no_profile_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.profile");
        write_secret(&path, b"{\"url\": 3}").unwrap();
        assert!(matches!(Profile::load(&path), Err(ProfileError::Malformed { .. })));
    }

    fn profile() -> Profile {
        let (root_key, key) = (SigningKey::generate_p256(), SigningKey::generate_p256());
        let now = SystemTime::now();
        let trust = make_root(&root_key, now).unwrap();
        let authority = Authority::make(trust.clone(), &root_key, SigningKey::generate_p256(), now).unwrap();
        let (fabric, tenant) = (trust.fabric(), TenantId::random());
        let principal = Principal { fabric, tenant, role: Role::Operator, id: [1; 16], serial: Vec::new() };
        let leaf = Leaf::new(principal, Vec::new(), now, OPERATOR_LIFE);
        let chain = authority.issue(key.public(), &leaf).unwrap();
        Profile {
            url: "https://localhost".into(),
            name: "anna".into(),
            trust,
            identity: Identity { chain, key },
        }
    }
}
