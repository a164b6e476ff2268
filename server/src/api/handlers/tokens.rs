//! Enrolment tokens.

use std::time::Duration;

use super::devices::paths;
use crate::api::input::{Body, PathName};
use crate::api::reply::{Done, Json, Refusal};
use crate::api::route::Call;
use crate::api::types::{AddToken, NewToken, Token};
use crate::fleet::{self, Caller};

type Reply<T> = Result<Json<T>, Refusal>;

pub(in crate::api) async fn list(Call { by, context }: Call<Caller>, (): ()) -> Reply<Vec<Token>> {
    let paths = paths(&context.fleet, by.tenant);
    let shown = |token: fleet::Token| {
        let path = paths.get(&token.group).cloned().unwrap_or_default();
        Token::new(token, path)
    };
    Ok(Json(context.fleet.tokens(by.tenant).into_iter().map(shown).collect()))
}

pub(in crate::api) async fn add(
    Call { by, context }: Call<Caller>,
    Body(wanted): Body<AddToken>,
) -> Reply<NewToken> {
    let group = context.fleet.group(by.tenant, wanted.group.as_deref().unwrap_or("/"))?;
    let ttl = Duration::from_secs(wanted.ttl);
    let (token, secret) = context.fleet.add_token(&by, group.id, wanted.uses, ttl).await?;
    Ok(Json(NewToken { token: Token::new(token, group.path), secret }))
}

pub(in crate::api) async fn remove(
    Call { by, context }: Call<Caller>,
    PathName(id): PathName,
) -> Reply<Done> {
    context.fleet.remove_token(&by, &id).await?;
    Ok(Json(Done {}))
}
