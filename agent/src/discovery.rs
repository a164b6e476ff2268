//! The discovery service: where the agent asks for newer keys and servers.

use klnet_wire::identity::enroll::decode_signed;
use klnet_wire::net::https::{ApiError, Client};
use klnet_wire::signed::Signed;
use serde::Deserialize;

use crate::directory::{Directory, DirectoryError, Taken};
use crate::state::{Device, Folder, StateError};

/// What the service answers: signed blobs, base64url.
#[derive(Debug, Clone, Deserialize)]
pub struct DiscoveryReply {
    /// The key set.
    pub keys: String,
    /// The server list.
    pub servers: String,
}

/// Why discovery brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The service was not reached, or refuses.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Its answer is no blob.
    #[error("the answer of the discovery service cannot be read: {0}")]
    Malformed(&'static str),
    /// Its answer does not pass.
    #[error("the answer of the discovery service is refused: {0}")]
    Refused(#[from] DirectoryError),
    /// What passed cannot be stored.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Asks the service at enrolment's URL, and gives its answer unverified.
///
/// # Errors
/// [`DiscoveryError::Api`] or [`DiscoveryError::Malformed`].
pub async fn ask(device: &Device) -> Result<(Signed, Signed), DiscoveryError> {
    let client = Client::anonymous(&device.server, device.trust.clone())?;
    let reply: DiscoveryReply = client.get(PATH).await?;
    let keys = decode_signed(&reply.keys).ok_or(DiscoveryError::Malformed("key set"))?;
    let servers = decode_signed(&reply.servers).ok_or(DiscoveryError::Malformed("server list"))?;
    Ok((keys, servers))
}

/// Takes a key set into `directory` and stores it when it is newer.
///
/// # Errors
/// [`DiscoveryError::Refused`] or [`DiscoveryError::State`].
pub fn take_keys(directory: &mut Directory, folder: &Folder, keys: &Signed) -> Result<Taken, DiscoveryError> {
    let taken = directory.take_keys(keys)?;
    if taken == Taken::Newer {
        folder.save_keys(keys)?;
    }
    Ok(taken)
}

/// Takes a server list into `directory` and stores it when it is newer; `now` is the server's clock, Unix seconds.
///
/// # Errors
/// [`DiscoveryError::Refused`] or [`DiscoveryError::State`].
pub fn take_servers(
    directory: &mut Directory,
    folder: &Folder,
    servers: &Signed,
    now: u64,
) -> Result<Taken, DiscoveryError> {
    let taken = directory.take_servers(servers, now)?;
    if taken == Taken::Newer {
        folder.save_servers(servers)?;
    }
    Ok(taken)
}

/// Where the service answers; no client certificate is needed.
pub const PATH: &str = "/api/v1/discovery";
