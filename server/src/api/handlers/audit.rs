//! The audit log.

use crate::api::input::Query;
use crate::api::reply::{Json, Refusal};
use crate::api::route::Call;
use crate::api::types::{AuditEntry, AuditPage};
use crate::fleet::Caller;

pub(in crate::api) async fn page(
    Call { by, context }: Call<Caller>,
    Query(page): Query<AuditPage>,
) -> Result<Json<Vec<AuditEntry>>, Refusal> {
    let limit = page.limit.unwrap_or(PAGE);
    let entries = context.fleet.audit(by.tenant, page.before, limit).await?;
    Ok(Json(entries.into_iter().map(AuditEntry::from).collect()))
}

/// Entries of a page unless asked otherwise.
const PAGE: u32 = 100;
