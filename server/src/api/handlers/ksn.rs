//! KSN proxies.

use klnet_wire::id::kind;

use crate::api::Context;
use crate::api::input::{Body, PathId};
use crate::api::reply::{Done, Json, Refusal};
use crate::api::route::Call;
use crate::api::types::{Ksn, SetKsn};
use crate::fleet::{self, Caller};

type Reply<T> = Result<Json<T>, Refusal>;
type Id = PathId<kind::Device>;

pub(in crate::api) async fn list(Call { by, context }: Call<Caller>, (): ()) -> Reply<Vec<Ksn>> {
    let found = context.fleet.ksn_proxies(by.tenant).into_iter();
    Ok(Json(found.map(|ksn| shown(&context, ksn)).collect()))
}

pub(in crate::api) async fn set(
    Call { by, context }: Call<Caller>,
    (PathId(id), Body(set)): (Id, Body<SetKsn>),
) -> Reply<Ksn> {
    let ksn = context.fleet.set_ksn(&by, id, set.into()).await?;
    Ok(Json(shown(&context, ksn)))
}

pub(in crate::api) async fn unset(Call { by, context }: Call<Caller>, PathId(id): Id) -> Reply<Done> {
    context.fleet.unset_ksn(&by, id).await?;
    Ok(Json(Done {}))
}

fn shown(context: &Context, ksn: fleet::Ksn) -> Ksn {
    let (online, told) = (context.fleet.is_online(ksn.device), context.distribution.ksn_state(ksn.device));
    Ksn::new(ksn, online, told)
}
