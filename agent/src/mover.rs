//! Moves a device to another server, or to an identity of its own: the new identity is put together and tried beside the
//! old one, which stays in use until the agent takes the new one on trial ([`crate::state`]).

use std::time::Duration;

use klnet_wire::identity::crl::Crls;
use klnet_wire::net::https::{ApiError, Client};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::check::STANDING;
use crate::control::{self, Unreachable};
use crate::directory::Directory;
use crate::discovery::{self, DiscoveryError};
use crate::enroll::{EnrollError, Invitation, enroll};
use crate::random::Random;
use crate::state::{Device, Folder, StateError};
use crate::status::{Connection, Status};

/// Why the device was not moved; it is what it was.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The new server gives it no identity.
    #[error(transparent)]
    Enroll(#[from] EnrollError),
    /// The state folder is not usable.
    #[error(transparent)]
    State(#[from] StateError),
    /// The new server gave an identity and no list of servers.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The new server does not let the device in.
    #[error("the new server does not let this device in: {0}")]
    Standing(ApiError),
    /// Its port for agents was not reached.
    #[error("the new server's port for agents is not reached: {0}")]
    Control(#[from] Unreachable),
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The agent took the new identity and went back.
    #[error("the new server did not welcome this device in time; it is where it was: {0}")]
    WentBack(String),
    /// The agent does not say what became of it.
    #[error("the agent has not said within {0:?} what became of it; klnagent status tells")]
    Unknown(Duration),
}

/// Puts the next identity together, and tries every step that an agent would go with it.
///
/// # Errors
/// [`MoveError`]; nothing of the identity in use has changed.
pub async fn prepare(folder: &Folder, invitation: &Invitation) -> Result<Device, MoveError> {
    let draft = folder.draft();
    let device = enroll(&draft, invitation, true).await?;
    try_out(&draft, &device).await?;
    // The file that makes an identity whole is the last that comes to its place.
    let next = folder.next();
    next.copy_from(&draft)?;
    draft.discard()?;
    Ok(device)
}

async fn try_out(draft: &Folder, device: &Device) -> Result<(), MoveError> {
    let mut directory: Directory = draft.directory(device)?;
    let crls = std::sync::Arc::new(Crls::default());
    let client = discovery::client(device, &crls).map_err(DiscoveryError::from)?;
    let discovered = discovery::ask(&client).await?;
    discovery::take_keys(&mut directory, draft, &discovered.keys).map(drop)?;
    discovery::take_crls(&crls, draft, &directory.issuers(), &discovered.crls)?;
    let standing = Client::with_identity(&device.server, &device.identity, device.trust.clone());
    let standing = standing.map_err(MoveError::Standing)?;
    standing.get::<Value>(STANDING).await.map_err(MoveError::Standing)?;
    let candidates = directory.candidates(&mut Random::new(u64::from(std::process::id())));
    control::dial(&candidates, &control::tls(device, &directory, &crls)?).await?;
    Ok(())
}

/// Waits until the running agent says that it is connected as `device`, or as another one again.
///
/// # Errors
/// [`MoveError::WentBack`] or [`MoveError::Unknown`].
pub async fn outcome(folder: &Folder, device: &Device, patience: Duration) -> Result<(), MoveError> {
    let (id, deadline) = (device.principal.id::<()>().to_string(), Instant::now() + patience);
    let mut taken = false;
    while Instant::now() < deadline {
        if let Some(status) = Status::read(folder) {
            taken |= status.device == id;
            if taken && status.device != id {
                let why = status.last_error.map_or_else(String::new, |error| error.text);
                return Err(MoveError::WentBack(why));
            }
            if taken && matches!(status.connection, Connection::Connected { .. }) {
                return Ok(());
            }
        }
        sleep(LOOK_EACH).await;
    }
    Err(MoveError::Unknown(patience))
}

/// How often the agent's status is read.
const LOOK_EACH: Duration = Duration::from_millis(200);
