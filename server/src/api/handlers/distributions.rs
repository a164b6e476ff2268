//! Objects on their way to devices.

use std::collections::HashMap;

use klnet_wire::id::kind;

use super::contents::on_disk;
use super::devices::paths;
use crate::api::input::{Body, PathId};
use crate::api::reply::{Done, Json, Refusal};
use crate::api::route::Call;
use crate::api::types::{Delivered, Distribute, Distribution, Results};
use crate::distribution::ContentId;
use crate::fleet::{Caller, NewDistribution};

type Reply<T> = Result<Json<T>, Refusal>;
type Id = PathId<kind::Distribution>;

pub(in crate::api) async fn list(Call { by, context }: Call<Caller>, (): ()) -> Reply<Vec<Distribution>> {
    let paths = paths(&context.fleet, by.tenant);
    let distributions = context.fleet.distributions(by.tenant).into_iter();
    let shown = distributions.map(|distribution| {
        let path = paths.get(&distribution.group).cloned().unwrap_or_default();
        Distribution::new(distribution, path)
    });
    Ok(Json(shown.collect()))
}

pub(in crate::api) async fn show(Call { by, context }: Call<Caller>, PathId(id): Id) -> Reply<Results> {
    let distribution = context.fleet.distribution(by.tenant, id)?;
    let path = context.fleet.group(by.tenant, &distribution.group.to_string())?.path;
    let delivered = context.fleet.deliveries(by.tenant, id).await?;
    let delivered: HashMap<_, _> = delivered.iter().map(|one| (one.device, one)).collect();
    let audience = context.fleet.audience(by.tenant, distribution.group);
    let devices = audience.iter().map(|device| Delivered::new(device, delivered.get(&device.id).copied()));
    let devices = devices.collect();
    Ok(Json(Results { distribution: Distribution::new(distribution, path), devices }))
}

pub(in crate::api) async fn add(
    Call { by, context }: Call<Caller>,
    Body(new): Body<Distribute>,
) -> Reply<Distribution> {
    let content = ContentId::parse(&new.content).ok_or_else(Refusal::not_found)?;
    let (catalogue, shape) = on_disk(&context, move |contents| contents.complete(content)).await?;
    let group = context.fleet.group(by.tenant, &new.group)?;
    let new = NewDistribution {
        group: group.id,
        name: new.name,
        version: new.version,
        length: shape.length,
        catalogue,
    };
    let distribution = context.fleet.distribute(&by, &new).await?;
    Ok(Json(Distribution::new(distribution, group.path)))
}

pub(in crate::api) async fn remove(Call { by, context }: Call<Caller>, PathId(id): Id) -> Reply<Done> {
    let content = context.fleet.distribution(by.tenant, id)?.manifest.catalogue;
    context.fleet.withdraw(&by, id).await?;
    if !context.fleet.distributes(&content) {
        on_disk(&context, move |contents| contents.remove(ContentId(content))).await?;
    }
    context.fleet.forget_deliveries(by.tenant).await?;
    Ok(Json(Done {}))
}
