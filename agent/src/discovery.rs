//! The discovery service: where the agent asks for newer keys and servers.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use klnet_wire::identity::crl::{self, Crls, Freshness};
use klnet_wire::identity::enroll::decode_signed;
use klnet_wire::identity::tls::{ALPN_HTTP, checking_config};
use klnet_wire::net::https::{ApiError, Client};
use klnet_wire::signed::{PublicKey, Signed};
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
    /// Revocation lists.
    #[serde(default)]
    pub crls: Vec<String>,
}

/// The answer, unverified.
#[derive(Debug, Clone)]
pub struct Discovered {
    /// The key set.
    pub keys: Signed,
    /// The server list.
    pub servers: Signed,
    /// Revocation lists in DER.
    pub crls: Vec<Vec<u8>>,
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

/// A client of the service at enrolment's URL, and of whatever else is fetched there. No list of `crls` that is too old
/// keeps it from fetching a newer one; a server that is on it is refused all the same.
///
/// # Errors
/// [`ApiError::Url`] or [`ApiError::Setup`].
pub fn client(device: &Device, crls: &Arc<Crls>) -> Result<Client, ApiError> {
    let (trust, crls) = (device.trust.clone(), Arc::clone(crls));
    Client::with_tls(&device.server, checking_config(None, trust, crls, Freshness::Waived, &[ALPN_HTTP])?)
}

/// Asks the service, and gives its answer unverified.
///
/// # Errors
/// [`DiscoveryError::Api`] or [`DiscoveryError::Malformed`].
pub async fn ask(client: &Client) -> Result<Discovered, DiscoveryError> {
    let reply: DiscoveryReply = client.get(PATH).await?;
    let keys = decode_signed(&reply.keys).ok_or(DiscoveryError::Malformed("key set"))?;
    let servers = decode_signed(&reply.servers).ok_or(DiscoveryError::Malformed("server list"))?;
    let crls = reply.crls.iter().take(CRLS_LIMIT).map(|text| BASE64URL_NOPAD.decode(text.as_bytes()));
    let crls = crls.collect::<Result<_, _>>().map_err(|_| DiscoveryError::Malformed("revocation lists"))?;
    Ok(Discovered { keys, servers, crls })
}

/// Takes revocation lists that one of `issuers` signed, and stores what is newer.
///
/// # Errors
/// [`DiscoveryError::State`]; a list that does not pass is left out.
pub fn take_crls(
    crls: &Crls,
    folder: &Folder,
    issuers: &[PublicKey],
    offered: &[Vec<u8>],
) -> Result<(), DiscoveryError> {
    let (taken, left_out) = crls.update(issuers, offered);
    for error in left_out {
        tracing::debug!(%error, "a revocation list is left out");
    }
    match taken {
        crl::Taken::Newer => Ok(folder.save_crls(crls)?),
        crl::Taken::Known => Ok(()),
    }
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

/// Most revocation lists of an answer that are looked at.
const CRLS_LIMIT: usize = 8;
/// Where the service answers; no client certificate is needed.
pub const PATH: &str = "/api/v1/discovery";
