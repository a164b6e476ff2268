//! How a holder of a certificate stays one: by renewal, and by following the fabric's roots.

use std::time::SystemTime;

use serde::Deserialize;

use super::dial::DialError;
use super::https::{ApiError, Client};
use crate::identity::authority::IssueError;
use crate::identity::enroll::{EnrollError, EnrollReply, Enrolled, decode_lineage};
use crate::identity::renew::RenewRequest;
use crate::identity::tls::Identity;
use crate::identity::{ChainError, Principal, Trust};

/// Why there is no new certificate; the old one stays.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The request was not made.
    #[error(transparent)]
    Request(#[from] IssueError),
    /// The server was not reached, or refuses.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Its answer does not pass.
    #[error(transparent)]
    Reply(#[from] EnrollError),
    /// It is for another holder.
    #[error("the new certificate is for somebody else")]
    OtherHolder,
}

/// Asks a server for the next certificate of `identity`, and verifies it. Asked again after a lost answer, the
/// server gives the same one. Needs no handshake with the old one, so that an expired one is renewed as any other.
///
/// # Errors
/// [`RenewError`].
pub async fn renew(client: &Client, identity: &Identity, trust: &Trust) -> Result<Enrolled, RenewError> {
    let holder = identity.chain.first().and_then(Principal::named_in).ok_or(RenewError::OtherHolder)?;
    let reply: EnrollReply = client.post(RENEW, &RenewRequest::new(identity)?).await?;
    let renewed = reply.verify_under(trust, identity.key.public(), holder.role, SystemTime::now())?;
    match (renewed.principal.tenant, renewed.principal.id) == (holder.tenant, holder.id) {
        true => Ok(renewed),
        false => Err(RenewError::OtherHolder),
    }
}

/// Asks the server at `url` how the roots that are known led to newer ones; `None` when there are none.
///
/// The server's own certificate is not looked at: it ends in a root that is not known yet. Nothing is told to it, and
/// its answer is believed as far as the known roots signed it.
///
/// # Errors
/// [`ApiError`].
pub async fn newer_roots(url: &str, trust: &Trust) -> Result<Option<Trust>, ApiError> {
    #[derive(Deserialize)]
    struct Reply {
        lineage: String,
    }
    let reply: Reply = Client::unverified(url)?.get(TRUST).await?;
    let lineage = decode_lineage(&reply.lineage).ok_or(ApiError::Malformed("not a lineage".into()))?;
    Ok(trust.follow(&lineage))
}

/// Whether a server was refused because of a root that is not known here: newer ones may be.
pub const fn is_of_unknown_root(error: &DialError) -> bool {
    matches!(error, DialError::Certificate { error: ChainError::NotIssued(_), .. })
}

/// Where a certificate is renewed.
pub const RENEW: &str = "/api/v1/renew";
/// Where the lineage of the fabric's roots is told.
pub const TRUST: &str = "/api/v1/trust";
