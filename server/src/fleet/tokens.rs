//! Enrolment tokens: shown once, stored hashed.

use std::time::{Duration, SystemTime};

use klnet_wire::id::{GroupId, TenantId};

use super::operators::Caller;
use super::record::TokenRecord;
use super::secret::Secret;
use super::{Change, Fleet, FleetError, Kind, Stored, keys};
use crate::store::Guard;
use crate::unix::{seconds, time};

/// A token as operators see it: never its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of the secret, in hexadecimal.
    pub id: String,
    /// The group its devices go to.
    pub group: GroupId,
    /// Devices that may still enrol with it.
    pub uses_left: u32,
    /// Until when it is good.
    pub expires: SystemTime,
    /// Who made it.
    pub created_by: String,
}

impl Fleet {
    /// Every token of a tenant that has not expired, the one that expires first in front.
    pub fn tokens(&self, tenant: TenantId) -> Vec<Token> {
        let now = seconds(SystemTime::now());
        let model = self.model();
        let ours =
            model.tokens.iter().filter(|((of, _), token)| *of == tenant && token.record.expires >= now);
        let mut tokens: Vec<_> = ours.map(|((_, id), stored)| shown(id, &stored.record)).collect();
        tokens.sort_by(|a, b| (a.expires, &a.id).cmp(&(b.expires, &b.id)));
        tokens
    }

    /// Makes a token, and gives its secret, which is shown once.
    ///
    /// # Errors
    /// `NotFound` group, `Invalid` uses or time, `Limit`, `Unavailable`.
    pub async fn add_token(
        &self,
        by: &Caller,
        group: GroupId,
        uses: u32,
        ttl: Duration,
    ) -> Result<(Token, String), FleetError> {
        let path = self.group(by.tenant, &group.to_string())?.path;
        if !(1..=USES_LIMIT).contains(&uses) || !(Duration::from_secs(1)..=TTL_LIMIT).contains(&ttl) {
            let days = TTL_LIMIT.as_secs() / 86_400;
            return Err(FleetError::invalid(format!(
                "a token has 1 to {USES_LIMIT} uses and lives at most {days} days"
            )));
        }
        if self.tokens(by.tenant).len() >= TOKENS_LIMIT {
            return Err(FleetError::new(Kind::Limit, format!("at most {TOKENS_LIMIT} tokens at once")));
        }
        let secret = Secret::random();
        let (id, expires) = (secret.hash_hex(), seconds(SystemTime::now() + ttl));
        let record =
            TokenRecord { group: group.to_vec(), uses_left: uses, expires, created_by: by.name.clone() };
        let change = Change::new(by.tenant, &by.name, "token.add", &id[..16])
            .detail("group", path)
            .detail("uses", uses)
            .guard(Guard::Present(keys::group(by.tenant, group)))
            .put(keys::token(by.tenant, &id), &record);
        self.commit(change).await?;
        Ok((shown(&id, &record), secret.print()))
    }

    /// Removes a token, named by its id or the start of it.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` when several begin so, `Unavailable`.
    pub async fn remove_token(&self, by: &Caller, id: &str) -> Result<(), FleetError> {
        let tokens = self.tokens(by.tenant);
        let mut named = tokens.iter().filter(|token| !id.is_empty() && token.id.starts_with(id));
        let (Some(token), None) = (named.next(), named.next()) else {
            return Err(FleetError::not_found(format!("no single token begins with {id:?}")));
        };
        let key = keys::token(by.tenant, &token.id);
        let change = Change::new(by.tenant, &by.name, "token.remove", &token.id[..16])
            .guard(Guard::Present(key.clone()))
            .delete(key);
        self.commit(change).await.map(drop)
    }

    /// The token with this hash.
    pub(super) fn token(&self, hash: &str) -> Option<(TenantId, Stored<TokenRecord>)> {
        let model = self.model();
        let found = model.tokens.iter().find(|((_, id), _)| id == hash);
        found.map(|((tenant, _), stored)| (*tenant, stored.clone()))
    }
}

fn shown(id: &str, record: &TokenRecord) -> Token {
    Token {
        id: id.to_owned(),
        group: GroupId::try_from(record.group.as_slice()).unwrap_or(GroupId::new([0; 16])),
        uses_left: record.uses_left,
        expires: time(record.expires).unwrap_or(SystemTime::UNIX_EPOCH),
        created_by: record.created_by.clone(),
    }
}

/// Most devices one token enrols.
const USES_LIMIT: u32 = 100_000;
/// Longest life of a token.
const TTL_LIMIT: Duration = Duration::from_secs(365 * 86_400);
/// Most tokens of a tenant at once.
const TOKENS_LIMIT: usize = 10_000;
