//! Contents: uploaded by operators, block by block, and taken by distribution points.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::api::Context;
use crate::api::input::{Body, PathName, Query};
use crate::api::octets::Octets;
use crate::api::reply::{Json, Refusal};
use crate::api::route::Call;
use crate::api::types::{BeginContent, BlockNumber, NextBlock};
use crate::distribution::{ContentError, ContentId, Contents, Shape};
use crate::fleet::{Caller, Device};

pub(in crate::api) async fn begin(
    call: Call<Caller>,
    Body(new): Body<BeginContent>,
) -> Result<Json<NextBlock>, Refusal> {
    let id = ContentId::parse(&new.id).ok_or_else(|| Refusal::invalid("an id has 64 hexadecimal digits"))?;
    let shape = Shape { catalogue: new.catalogue_length, length: new.length };
    let fleet = Arc::clone(&call.context.fleet);
    let next = on_disk(&call.context, move |contents| {
        contents.begin(id, shape, |content| fleet.distributes(&content.0))
    });
    Ok(Json(NextBlock { next: next.await? }))
}

pub(in crate::api) async fn put(
    call: Call<Caller>,
    (PathName(id), (Query(block), Octets(bytes))): (PathName, (Query<BlockNumber>, Octets)),
) -> Result<Json<NextBlock>, Refusal> {
    let id = ContentId::parse(&id).ok_or_else(Refusal::not_found)?;
    let next = on_disk(&call.context, move |contents| contents.put(id, block.number, &bytes)).await?;
    Ok(Json(NextBlock { next }))
}

pub(in crate::api) async fn block(
    Call { by, context }: Call<Device>,
    (PathName(id), Query(block)): (PathName, Query<BlockNumber>),
) -> Result<Octets, Refusal> {
    let id = ContentId::parse(&id).filter(|id| context.fleet.sends(by.tenant, by.id, &id.0));
    let id = id.ok_or_else(Refusal::not_found)?;
    let bytes = on_disk(&context, move |contents| contents.block(id, block.number)).await?;
    Ok(Octets(bytes.into()))
}

/// Does something with contents that may wait for the disk.
pub(super) async fn on_disk<T: Send + 'static>(
    context: &Context,
    work: impl FnOnce(&Contents) -> Result<T, ContentError> + Send + 'static,
) -> Result<T, Refusal> {
    let contents = Arc::clone(context.distribution.contents());
    let done = spawn_blocking(move || work(&contents)).await;
    Ok(done.map_err(|error| Refusal::unavailable(error.to_string()))??)
}
