//! Objects by HTTPS: from a distribution point that the server has named, or from the server itself.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use hyper::Method;
use klnet_multicast::manifest::Manifest;
use klnet_multicast::net::{self as multicast, FetchError, Fetched, fetch};
use klnet_wire::duties::Source;
use klnet_wire::id::{DeviceId, DistributionId};
use klnet_wire::identity::crl::Freshness;
use klnet_wire::identity::tls::{ALPN_HTTP, checking_config, device_config};
use klnet_wire::net::https::{ApiError, Client};
use ring::hmac;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::object::Object;
use super::place::Place;

/// Why an object did not come by HTTPS.
#[derive(Debug, thiserror::Error)]
pub(super) enum Missed {
    #[error(transparent)]
    Fetch(#[from] FetchError<ApiError>),
    #[error(transparent)]
    Setup(#[from] ApiError),
    #[error("the distribution point has told no address")]
    Nowhere,
    #[error("the fetching ended: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

/// Fetches an object from its distribution point, at whichever of its addresses answers.
pub(super) async fn from_point(
    place: Arc<Place>,
    source: Source,
    object: Object,
    folder: std::path::PathBuf,
) -> Result<(Fetched, Duration), Missed> {
    let point = DeviceId::try_from(&source.device[..]).map_err(|_| Missed::Nowhere)?;
    let device = place.device();
    let own = device.principal.id();
    let tls =
        device_config(&device.identity, device.trust, Some(Arc::clone(&place.crls)), point, &[ALPN_HTTP])
            .map_err(ApiError::from)?;
    let proof = HEXLOWER.encode(proof(&source.secret, own, object.id).as_ref());
    let mut last = Missed::Nowhere;
    for address in &source.addresses {
        let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
        let client = Client::with_tls(&format!("https://{host}:{}", source.port), Arc::clone(&tls))?;
        let (id, proof) = (object.id, proof.clone());
        let path = move |block: u32| format!("/objects/{id}/{block}/{proof}");
        match take(client, path, &folder, &object.manifest).await {
            Err(Missed::Fetch(FetchError::Source { error: error @ ApiError::Dial(_), block })) => {
                last = Missed::Fetch(FetchError::Source { block, error });
            }
            done => return done,
        }
    }
    Err(last)
}

/// Fetches an object from the server, which only a distribution point may.
pub(super) async fn from_server(
    place: &Place,
    manifest: &Manifest,
    folder: &Path,
) -> Result<(Fetched, Duration), Missed> {
    let device = place.device();
    let (trust, crls) = (device.trust, Arc::clone(&place.crls));
    let tls = checking_config(Some(&device.identity), trust, crls, Freshness::Waived, &[ALPN_HTTP]);
    let client = Client::with_tls(&device.server, tls.map_err(ApiError::from)?)?;
    let content = HEXLOWER.encode(&manifest.catalogue);
    let path = move |block: u32| format!("/api/v1/agent/contents/{content}/block?number={block}");
    take(client, path, folder, manifest).await
}

/// Takes an object that this device brings to others.
pub(super) async fn from_here(
    here: Arc<multicast::Object>,
    manifest: &Manifest,
    folder: &Path,
) -> Result<(Fetched, Duration), Missed> {
    let (folder, manifest, begun) = (folder.to_owned(), manifest.clone(), Instant::now());
    let give = move |block| {
        let mut bytes = here.catalogue().to_vec();
        match block {
            0 => Ok(bytes),
            _ => here
                .read_block(block, &mut bytes)
                .map(|()| bytes)
                .map_err(|error| ApiError::Broken(error.to_string())),
        }
    };
    let fetched = spawn_blocking(move || fetch(&folder, &manifest, give)).await??;
    Ok((fetched, begun.elapsed()))
}

async fn take(
    client: Client,
    path: impl Fn(u32) -> String + Send + 'static,
    folder: &Path,
    manifest: &Manifest,
) -> Result<(Fetched, Duration), Missed> {
    let (folder, manifest, runtime) = (folder.to_owned(), manifest.clone(), Handle::current());
    let begun = Instant::now();
    let give = move |block| {
        let path = path(block);
        runtime.block_on(client.request(Method::GET, &path, bytes::Bytes::new())).map(|bytes| bytes.to_vec())
    };
    let fetched = spawn_blocking(move || fetch(&folder, &manifest, give)).await??;
    Ok((fetched, begun.elapsed()))
}

/// Shows that a device has the secret of this epoch: who left has not, whatever certificate it still holds.
pub(super) fn proof(secret: &[u8], device: DeviceId, object: DistributionId) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &proven(device, object))
}

/// What a proof is about.
pub(super) fn proven(device: DeviceId, object: DistributionId) -> Vec<u8> {
    [b"klnet/files/v1".as_slice(), device.as_bytes(), object.as_bytes()].concat()
}
