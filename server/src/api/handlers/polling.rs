//! Devices that find hosts in their networks, and what they have found.

use std::collections::HashMap;

use klnet_wire::id::kind;

use crate::api::input::{Body, PathId};
use crate::api::reply::{Done, Json, Refusal};
use crate::api::route::Call;
use crate::api::types::{Poller, SetPolling, Unassigned};
use crate::fleet::Caller;

type Reply<T> = Result<Json<T>, Refusal>;
type Id = PathId<kind::Device>;

pub(in crate::api) async fn list(Call { by, context }: Call<Caller>, (): ()) -> Reply<Vec<Poller>> {
    let pollers = context.fleet.pollers(by.tenant).into_iter();
    Ok(Json(pollers.map(|poller| Poller::new(&context.fleet, poller)).collect()))
}

pub(in crate::api) async fn set(
    Call { by, context }: Call<Caller>,
    (PathId(id), Body(polling)): (Id, Body<SetPolling>),
) -> Reply<Poller> {
    let poller = context.fleet.poll(&by, id, polling.into()).await?;
    Ok(Json(Poller::new(&context.fleet, poller)))
}

pub(in crate::api) async fn unset(Call { by, context }: Call<Caller>, PathId(id): Id) -> Reply<Done> {
    context.fleet.poll_no_more(&by, id).await?;
    Ok(Json(Done {}))
}

pub(in crate::api) async fn unassigned(Call { by, context }: Call<Caller>, (): ()) -> Reply<Vec<Unassigned>> {
    let pollers = context.fleet.pollers(by.tenant).into_iter();
    let names: HashMap<_, _> = pollers.map(|poller| (poller.device, poller.name)).collect();
    let found = context.fleet.unassigned(by.tenant).await?.into_iter();
    Ok(Json(found.map(|host| Unassigned::new(host, &names)).collect()))
}
