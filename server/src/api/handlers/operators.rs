//! Operators.

use std::time::Duration;

use klnet_wire::id::kind;

use crate::api::input::{Body, PathId};
use crate::api::reply::{Done, Json, Refusal};
use crate::api::route::Call;
use crate::api::types::{AddOperator, Invited, Operator, Revoke, Whoami};
use crate::fleet::{Caller, OperatorRole, Roles};

type Reply<T> = Result<Json<T>, Refusal>;

pub(in crate::api) async fn whoami(call: Call<Caller>, (): ()) -> Reply<Whoami> {
    Ok(Json(call.by.into()))
}

pub(in crate::api) async fn list(Call { by, context }: Call<Caller>, (): ()) -> Reply<Vec<Operator>> {
    Ok(Json(context.fleet.operators(by.tenant).into_iter().map(Operator::from).collect()))
}

pub(in crate::api) async fn add(
    Call { by, context }: Call<Caller>,
    Body(operator): Body<AddOperator>,
) -> Reply<Invited> {
    let ttl = Duration::from_secs(operator.ttl);
    if !(Duration::from_secs(1)..=INVITATION_LIFE).contains(&ttl) {
        let days = INVITATION_LIFE.as_secs() / 86_400;
        return Err(Refusal::invalid(format!(
            "an invitation lives at least a second and at most {days} days"
        )));
    }
    let roles = operator.roles.iter().map(|role| role.parse::<OperatorRole>());
    let roles: Roles =
        roles.collect::<Result<_, _>>().map_err(|error| Refusal::invalid(error.to_string()))?;
    let (operator, invitation) = context.fleet.add_operator(&by, &operator.name, roles, ttl).await?;
    Ok(Json(Invited { operator: operator.into(), invitation }))
}

pub(in crate::api) async fn revoke(
    Call { by, context }: Call<Caller>,
    (PathId(id), Body(revoke)): (PathId<kind::Operator>, Body<Revoke>),
) -> Reply<Done> {
    context.fleet.revoke_operator(&by, id, &revoke.reason).await?;
    Ok(Json(Done {}))
}

/// Longest time an invitation is good.
const INVITATION_LIFE: Duration = Duration::from_secs(30 * 86_400);
