//! Groups.

use klnet_wire::id::kind;

use crate::api::input::{Body, PathId};
use crate::api::reply::{Done, Json, Refusal};
use crate::api::route::Call;
use crate::api::types::{AddGroup, Group};
use crate::fleet::Caller;

type Reply<T> = Result<Json<T>, Refusal>;

pub(in crate::api) async fn list(Call { by, context }: Call<Caller>, (): ()) -> Reply<Vec<Group>> {
    Ok(Json(context.fleet.groups(by.tenant).into_iter().map(Group::from).collect()))
}

pub(in crate::api) async fn add(
    Call { by, context }: Call<Caller>,
    Body(group): Body<AddGroup>,
) -> Reply<Group> {
    let parent = group.parent.map(|parent| context.fleet.group(by.tenant, &parent)).transpose()?;
    let added = context.fleet.add_group(&by, &group.name, parent.map(|parent| parent.id)).await?;
    Ok(Json(added.into()))
}

pub(in crate::api) async fn remove(
    Call { by, context }: Call<Caller>,
    PathId(id): PathId<kind::Group>,
) -> Reply<Done> {
    context.fleet.remove_group(&by, id).await?;
    Ok(Json(Done {}))
}
