//! Distribution points.

use klnet_wire::id::kind;

use super::devices::paths;
use crate::api::Context;
use crate::api::input::{Body, PathId};
use crate::api::reply::{Done, Json, Refusal};
use crate::api::route::Call;
use crate::api::types::{AssignPoint, Point};
use crate::fleet::{self, Caller};

type Reply<T> = Result<Json<T>, Refusal>;
type Id = PathId<kind::Device>;

pub(in crate::api) async fn list(Call { by, context }: Call<Caller>, (): ()) -> Reply<Vec<Point>> {
    let points = context.fleet.points(by.tenant).into_iter();
    Ok(Json(points.map(|point| shown(&context, &by, point)).collect()))
}

pub(in crate::api) async fn assign(
    Call { by, context }: Call<Caller>,
    (PathId(id), Body(to)): (Id, Body<AssignPoint>),
) -> Reply<Point> {
    let group = context.fleet.group(by.tenant, &to.group)?;
    let point = context.fleet.assign_point(&by, id, group.id, bits(to.rate_mbit)).await?;
    Ok(Json(shown(&context, &by, point)))
}

pub(in crate::api) async fn unassign(Call { by, context }: Call<Caller>, PathId(id): Id) -> Reply<Done> {
    context.fleet.unassign_point(&by, id).await?;
    Ok(Json(Done {}))
}

/// Mbit/s as bits a second; none is no limit.
fn bits(rate: Option<u32>) -> u64 {
    u64::from(rate.unwrap_or_default()) * 1_000_000
}

fn shown(context: &Context, by: &Caller, point: fleet::Point) -> Point {
    let path = paths(&context.fleet, by.tenant).remove(&point.group).unwrap_or_default();
    let (online, told) = (context.fleet.is_online(point.device), context.distribution.where_is(point.device));
    Point::new(point, path, online, told)
}
