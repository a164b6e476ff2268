//! Grants and the tunnels that use them.

use klnet_wire::id::kind;

use crate::api::input::{Body, PathId};
use crate::api::reply::{Done, Json, Refusal};
use crate::api::route::Call;
use crate::api::types::{AskGrant, Granted, Revoke, Tunnel};
use crate::fleet::Caller;

type Reply<T> = Result<Json<T>, Refusal>;

pub(in crate::api) async fn grant(
    Call { by, context }: Call<Caller>,
    Body(AskGrant(request)): Body<AskGrant>,
) -> Reply<Granted> {
    Ok(Json(Granted(context.tunnels.grant(&by, &request).await?)))
}

pub(in crate::api) async fn list(Call { by, context }: Call<Caller>, (): ()) -> Reply<Vec<Tunnel>> {
    Ok(Json(context.tunnels.list(by.tenant).await?.into_iter().map(Tunnel::from).collect()))
}

pub(in crate::api) async fn revoke(
    Call { by, context }: Call<Caller>,
    (PathId(id), Body(revoke)): (PathId<kind::Grant>, Body<Revoke>),
) -> Reply<Done> {
    context.tunnels.revoke(&by, id, &revoke.reason).await?;
    Ok(Json(Done {}))
}
