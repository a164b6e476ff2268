//! Who a command is: a file with a key and its certificate chain, or the state folder of the agent that has them.

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
    #[error("{} is not PEM of a key, then its certificate, the authority's and the root's", .0.display())]
    Malformed(PathBuf),
    #[error("{}: {error}", .path.display())]
    Root { path: PathBuf, error: ChainError },
}

/// Reads a chain and its key, and trusts the root that the chain ends in.
pub(super) fn load(path: &Path) -> Result<(Identity, Trust), IdentityError> {
    let malformed = || IdentityError::Malformed(path.to_owned());
    let text = match path.is_dir() {
        true => secret(&path.join(AGENT_KEY))? + &read(&path.join(AGENT_CHAIN))?,
        false => secret(path)?,
    };
    let identity = identity_from_pem(&text).ok_or_else(malformed)?;
    let root = identity.chain.last().cloned().ok_or_else(malformed)?;
    let trust = Trust::new(root).map_err(|error| IdentityError::Root { path: path.to_owned(), error })?;
    Ok((identity, trust))
}

/// A file that nobody else may read.
fn secret(path: &Path) -> Result<String, IdentityError> {
    let metadata = fs::metadata(path).map_err(|error| IdentityError::Io { path: path.to_owned(), error })?;
    match others_may_read(&metadata) {
        true => Err(IdentityError::Permissions(path.to_owned())),
        false => read(path),
    }
}

fn read(path: &Path) -> Result<String, IdentityError> {
    fs::read_to_string(path).map_err(|error| IdentityError::Io { path: path.to_owned(), error })
}

/// An agent's private key, in its state folder.
const AGENT_KEY: &str = "device.key";
/// An agent's certificate chain, in its state folder.
const AGENT_CHAIN: &str = "chain.pem";
