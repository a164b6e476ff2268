//! Devices: what operators see and do, and what a device learns of itself.

use std::collections::HashMap;

use klnet_wire::id::{GroupId, TenantId, kind};

use crate::api::input::{Body, PathId, Query};
use crate::api::reply::{Done, Json, Refusal};
use crate::api::route::Call;
use crate::api::types::{ApproveClone, Device, DeviceFilter, MoveDevice, Revoke, Standing};
use crate::fleet::{self, Caller, Fleet};

type Reply<T> = Result<Json<T>, Refusal>;
type Id = PathId<kind::Device>;

pub(in crate::api) async fn list(
    Call { by, context }: Call<Caller>,
    Query(filter): Query<DeviceFilter>,
) -> Reply<Vec<Device>> {
    let paths = paths(&context.fleet, by.tenant);
    let wanted = |device: &fleet::Device| filter.name.as_ref().is_none_or(|name| device.name == *name);
    let devices = context.fleet.devices(by.tenant).into_iter().filter(wanted);
    Ok(Json(devices.map(|device| shown(device, &paths)).collect()))
}

pub(in crate::api) async fn show(Call { by, context }: Call<Caller>, PathId(id): Id) -> Reply<Device> {
    let device = context.fleet.device(by.tenant, &id.to_string())?;
    Ok(Json(shown(device, &paths(&context.fleet, by.tenant))))
}

pub(in crate::api) async fn relocate(
    Call { by, context }: Call<Caller>,
    (PathId(id), Body(to)): (Id, Body<MoveDevice>),
) -> Reply<Device> {
    let group = context.fleet.group(by.tenant, &to.group)?;
    context.fleet.move_device(&by, id, group.id).await?;
    show(Call { by, context }, PathId(id)).await
}

pub(in crate::api) async fn revoke(
    Call { by, context }: Call<Caller>,
    (PathId(id), Body(revoke)): (Id, Body<Revoke>),
) -> Reply<Done> {
    context.fleet.revoke_device(&by, id, &revoke.reason).await?;
    Ok(Json(Done {}))
}

pub(in crate::api) async fn remove(Call { by, context }: Call<Caller>, PathId(id): Id) -> Reply<Done> {
    context.fleet.remove_device(&by, id).await?;
    Ok(Json(Done {}))
}

pub(in crate::api) async fn approve_clone(
    Call { by, context }: Call<Caller>,
    (PathId(id), Body(which)): (Id, Body<ApproveClone>),
) -> Reply<Device> {
    context.fleet.approve_clone(&by, id, which.address).await?;
    show(Call { by, context }, PathId(id)).await
}

pub(in crate::api) async fn standing(Call { by, context }: Call<fleet::Device>, (): ()) -> Reply<Standing> {
    let group = context.fleet.group(by.tenant, &by.group.to_string())?.path;
    Ok(Json(Standing { device: by.id.to_string(), name: by.name, group, online: by.presence.online }))
}

fn shown(device: fleet::Device, paths: &HashMap<GroupId, String>) -> Device {
    let path = paths.get(&device.group).cloned().unwrap_or_default();
    Device::new(device, path)
}

pub(super) fn paths(fleet: &Fleet, tenant: TenantId) -> HashMap<GroupId, String> {
    fleet.groups(tenant).into_iter().map(|group| (group.id, group.path)).collect()
}
