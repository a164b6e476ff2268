//! `klctl operator` and `klctl whoami`.

use std::time::{Duration, SystemTime};

use super::args::Named;
use super::console::{Console, named};
use super::failure::Failure;
use super::text::{ago, printable, span, table};
use crate::api::reply::Done;
use crate::api::types::{AddOperator, Invited, Operator, Revoke, Whoami};

pub(super) async fn whoami(console: &Console) -> Result<(), Failure> {
    let me: Whoami = console.get("/whoami").await?;
    let url = &console.profile.url;
    console.show(&me, |me| printable(&format!("{} ({}) at {url}", me.name, me.roles.join(", "))))
}

pub(super) async fn list(console: &Console) -> Result<(), Failure> {
    let operators: Vec<Operator> = console.get("/operators").await?;
    let now = SystemTime::now();
    let row = |operator: &Operator| {
        let state = match (operator.revoked, operator.invited_until) {
            (Some(when), _) => format!("revoked {}", ago(when, now)),
            (None, Some(until)) => format!("invited, expires {}", ago(until, now)),
            (None, None) => "active".to_owned(),
        };
        [operator.name.clone(), operator.roles.join(", "), state, ago(operator.created, now)]
    };
    console
        .show(&operators, |operators| table(["NAME", "ROLES", "STATE", "ADDED"], operators.iter().map(row)))
}

pub(super) async fn add(
    console: &Console,
    name: String,
    roles: Vec<String>,
    ttl: Duration,
) -> Result<(), Failure> {
    let invited: Invited =
        console.post("/operators", &AddOperator { name, roles, ttl: ttl.as_secs() }).await?;
    console.aside(&format!(
        "Hand this line to {} in private; it is good once, for {}:",
        invited.operator.name,
        span(ttl)
    ));
    let url = &console.profile.url;
    console.show(&invited, |invited| printable(&format!("klctl login {url} {}", invited.invitation)))
}

pub(super) async fn revoke(console: &Console, Named { name, reason }: Named) -> Result<(), Failure> {
    let mut operators: Vec<Operator> = console.get("/operators").await?;
    // The name of a revoked operator becomes free; the one who has it now is meant.
    if operators.iter().any(|operator| operator.name == name && operator.revoked.is_none()) {
        operators.retain(|operator| operator.revoked.is_none());
    }
    let operator = named(operators, &name, "operator", |operator| (&operator.id, &operator.name))?;
    let Done {} = console.post(&format!("/operators/{}/revoke", operator.id), &Revoke { reason }).await?;
    console.done(&format!("Operator {} is revoked", operator.name))
}
