//! Who a command is: a file with a certificate chain and its key.

use std::path::{Path, PathBuf};
use std::{fs, io};

use klnet_wire::identity::pem::identity_from_pem;
use klnet_wire::identity::secret_file::others_may_read;
use klnet_wire::identity::tls::Identity;
use klnet_wire::identity::{ChainError, Trust};

/// Why an identity is not usable.
#[derive(Debug, thiserror::Error)]
pub(super) enum IdentityError {
    #[error("cannot read {}: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{} can be read by others; run: chmod 600 {}", .0.display(), .0.display())]
    Permissions(PathBuf),
    #[error("{} is not PEM of leaf, authority and root with the leaf's key", .0.display())]
    Malformed(PathBuf),
    #[error("{}: {error}", .path.display())]
    Root { path: PathBuf, error: ChainError },
}

/// Reads a chain and its key, and trusts the root that the chain ends in.
pub(super) fn load(path: &Path) -> Result<(Identity, Trust), IdentityError> {
    let failed = |error| IdentityError::Io { path: path.to_owned(), error };
    if others_may_read(&fs::metadata(path).map_err(failed)?) {
        return Err(IdentityError::Permissions(path.to_owned()));
    }
    let malformed = || IdentityError::Malformed(path.to_owned());
    let identity = identity_from_pem(&fs::read_to_string(path).map_err(failed)?).ok_or_else(malformed)?;
    let root = identity.chain.last().cloned().ok_or_else(malformed)?;
    let trust = Trust::new(root).map_err(|error| IdentityError::Root { path: path.to_owned(), error })?;
    Ok((identity, trust))
}
