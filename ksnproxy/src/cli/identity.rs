//! Who a command is: a file with a key and its certificate chain, or the state folder of the agent that has them. Both are
//! replaced while a command runs, and read again then.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fs, io};

use klnet_wire::identity::crl::Crls;
use klnet_wire::identity::enroll::unix;
use klnet_wire::identity::pem::identity_from_pem;
use klnet_wire::identity::secret_file::others_may_read;
use klnet_wire::identity::state::{State, StateError};
use klnet_wire::identity::tls::Identity;
use klnet_wire::identity::{ChainError, Trust};

use crate::net::version::FileVersion;

/// Where an identity is, and what was last read there.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    versions: Vec<Option<FileVersion>>,
    /// An agent's lists; a file has none.
    crls: Option<Arc<Crls>>,
}

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
    #[error(transparent)]
    State(#[from] StateError),
}

/// Reads a chain and its key, and whom they trust.
pub(super) fn load(path: &Path) -> Result<(Identity, Trust), IdentityError> {
    Source::open(path).map(|(_, who)| who)
}

impl Source {
    /// Reads an identity for the first time.
    pub(super) fn open(path: &Path) -> Result<(Self, (Identity, Trust)), IdentityError> {
        let crls = path.is_dir().then(Arc::default);
        let mut source = Self { path: path.to_owned(), versions: Vec::new(), crls };
        source.versions = source.versions();
        let who = source.read()?;
        Ok((source, who))
    }

    /// The lists of an agent, which change where they are.
    pub(super) fn crls(&self) -> Option<Arc<Crls>> {
        self.crls.clone()
    }

    /// Reads it again when its files are others than those that were read last. What is damaged changes nothing, and is told
    /// once.
    fn look(&mut self) -> Option<Result<(Identity, Trust), IdentityError>> {
        let versions = self.versions();
        let is_other = self.versions != versions;
        self.versions = versions;
        is_other.then(|| self.read())
    }

    /// Has `take` hear whoever the files say, as they change, for ever.
    pub(super) async fn follow(mut self, take: impl Fn(&Identity, &Trust) -> Result<(), rustls::Error>) {
        loop {
            tokio::time::sleep(LOOK_EACH).await;
            // Some small files, on a runtime that has little else to do.
            match self.look() {
                None => {}
                Some(Ok((identity, trust))) => match take(&identity, &trust) {
                    Ok(()) => tracing::info!("certificate, roots and revocation lists were read again"),
                    Err(error) => tracing::warn!(%error, "the certificate before is shown"),
                },
                Some(Err(error)) => tracing::warn!(%error, "the certificate and roots before are in force"),
            }
        }
    }

    fn read(&self) -> Result<(Identity, Trust), IdentityError> {
        match &self.crls {
            Some(crls) => {
                let state = State::read(&self.path)?;
                take(crls, &state);
                Ok((state.identity, state.trust))
            }
            None => file(&self.path),
        }
    }

    /// Taken before the files are read: what changes in between is read again.
    fn versions(&self) -> Vec<Option<FileVersion>> {
        match self.crls {
            Some(_) => State::FILES.iter().map(|name| FileVersion::of(&self.path.join(name))).collect(),
            None => vec![FileVersion::of(&self.path)],
        }
    }
}

fn take(crls: &Crls, state: &State) {
    for error in crls.update(&state.issuers, &state.crls).1 {
        tracing::warn!(%error, "a revocation list is left out, the one before is in force");
    }
    if !crls.are_fresh(&state.issuers, unix(SystemTime::now())) {
        tracing::warn!(
            "a revocation list is missing or too old: nobody is let in before klnagent has another"
        );
    }
}

/// A key and its chain in one file. The root that the chain ends in is trusted.
fn file(path: &Path) -> Result<(Identity, Trust), IdentityError> {
    let malformed = || IdentityError::Malformed(path.to_owned());
    let identity = identity_from_pem(&secret(path)?).ok_or_else(malformed)?;
    let root = identity.chain.last().cloned().ok_or_else(malformed)?;
    let trust = Trust::new(root).map_err(|error| IdentityError::Root { path: path.to_owned(), error })?;
    Ok((identity, trust))
}

/// A file that nobody else may read.
fn secret(path: &Path) -> Result<String, IdentityError> {
    let failed = |error| IdentityError::Io { path: path.to_owned(), error };
    match others_may_read(&fs::metadata(path).map_err(failed)?) {
        true => Err(IdentityError::Permissions(path.to_owned())),
        false => fs::read_to_string(path).map_err(failed),
    }
}

/// How soon what an agent has stored is in force.
const LOOK_EACH: Duration = Duration::from_secs(2);
