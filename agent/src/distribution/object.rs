//! An object that the device was told of.

use klnet_multicast::manifest::{Manifest, object_id};
use klnet_wire::duties::Duties;
use klnet_wire::id::DistributionId;
use klnet_wire::signed::{PublicKey, Signed};

/// An object, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    /// The first 16 bytes of its id.
    pub(super) id: DistributionId,
    pub(super) manifest: Manifest,
    pub(super) signed: Signed,
    /// Whether the device is to have it.
    pub(super) take: bool,
    /// Whether the device is to bring it to others.
    pub(super) send: bool,
    /// Whether it is fetched by each device, at once, and not sent by multicast.
    pub(super) unicast: bool,
}

/// The objects of some duties; one that nobody known has signed is left out.
pub(super) fn objects(duties: &Duties, signers: &[PublicKey]) -> Vec<Object> {
    let read = |object: &klnet_wire::duties::Object| {
        let signed = object.manifest.clone()?;
        let manifest = Manifest::verify(&signed, signers)
            .inspect_err(|error| tracing::warn!(%error, "an object is left out"))
            .ok()?;
        let id = DistributionId::new(*object_id(&signed).0.first_chunk()?);
        let take = duties.audiences.iter().any(|audience| audience[..] == manifest.audience);
        Some(Object { id, manifest, signed, take, send: object.send, unicast: object.unicast })
    };
    duties.objects.iter().filter_map(read).collect()
}
