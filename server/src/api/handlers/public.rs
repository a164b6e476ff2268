//! What anyone may ask.

use crate::api::input::{Body, From};
use crate::api::reply::{Document, Json, Pem, Refusal};
use crate::api::route::{Anyone, Call};
use crate::api::types::{Enroll, Enrolled, Health, Renew};
use crate::directory::{DiscoveryReply, TrustReply};

type Reply<T> = Result<Json<T>, Refusal>;

pub(in crate::api) async fn health(_: Call<Anyone>, (): ()) -> Reply<Health> {
    Ok(Json(Health { version: env!("CARGO_PKG_VERSION").to_owned() }))
}

pub(in crate::api) async fn openapi(_: Call<Anyone>, (): ()) -> Result<Document, Refusal> {
    Ok(Document)
}

pub(in crate::api) async fn root(call: Call<Anyone>, (): ()) -> Result<Pem, Refusal> {
    Ok(Pem(call.context.directory.root_pem()))
}

pub(in crate::api) async fn discovery(call: Call<Anyone>, (): ()) -> Reply<DiscoveryReply> {
    Ok(Json(call.context.directory.reply()))
}

pub(in crate::api) async fn trust(call: Call<Anyone>, (): ()) -> Reply<TrustReply> {
    Ok(Json(call.context.directory.trust()))
}

pub(in crate::api) async fn enroll(
    call: Call<Anyone>,
    (From(from), Body(Enroll(request))): (From, Body<Enroll>),
) -> Reply<Enrolled> {
    Ok(Json(Enrolled(call.context.fleet.enroll(request, from).await?)))
}

pub(in crate::api) async fn login(
    call: Call<Anyone>,
    (From(from), Body(Enroll(request))): (From, Body<Enroll>),
) -> Reply<Enrolled> {
    Ok(Json(Enrolled(call.context.fleet.login(request, from).await?)))
}

pub(in crate::api) async fn renew(
    call: Call<Anyone>,
    (From(from), Body(Renew(request))): (From, Body<Renew>),
) -> Reply<Enrolled> {
    Ok(Json(Enrolled(call.context.fleet.renew(&request, from).await?)))
}
