//! A change of the fleet: guards, operations and its audit entry, committed as one.

use std::collections::BTreeMap;

use klnet_wire::id::TenantId;
use prost::Message;

use super::record::AuditRecord;
use super::{Denied, Fleet, FleetError, Kind, keys};
use crate::store::{CommitError, Guard, Key, Op, OpId, Read, Rev};
use crate::unix::seconds;

/// What is to be committed. It cannot be made without saying what the audit log will say.
#[derive(Debug)]
pub struct Change {
    tenant: TenantId,
    guards: Vec<Guard>,
    ops: Vec<Op>,
    /// At least one.
    audits: Vec<AuditRecord>,
}

impl Change {
    /// A change by `actor`: `action` is `noun.verb`.
    pub fn new(tenant: TenantId, actor: &str, action: &str, subject: impl Into<String>) -> Self {
        let audit = AuditRecord {
            number: 0,
            at: seconds(std::time::SystemTime::now()),
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: subject.into(),
            detail: BTreeMap::new(),
        };
        Self { tenant, guards: Vec::new(), ops: Vec::new(), audits: vec![audit] }
    }

    /// Adds a detail to the audit entry, the last when there are several.
    #[must_use]
    pub fn detail(mut self, key: &str, value: impl ToString) -> Self {
        if let Some(audit) = self.audits.last_mut() {
            audit.detail.insert(key.to_owned(), value.to_string());
        }
        self
    }

    /// Adds another change of the same tenant: both happen, or neither.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        debug_assert_eq!(self.tenant, other.tenant, "a change is one tenant's");
        self.guards.extend(other.guards);
        self.ops.extend(other.ops);
        self.audits.extend(other.audits);
        self
    }

    /// Adds a condition.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    /// Sets a record.
    #[must_use]
    pub fn put(mut self, key: Key, record: &impl Message) -> Self {
        self.ops.push(Op::put(key, record.encode_to_vec()));
        self
    }

    /// Removes a record.
    #[must_use]
    pub fn delete(mut self, key: Key) -> Self {
        self.ops.push(Op::delete(key));
        self
    }
}

impl Fleet {
    /// Commits a change with its audit entries, and waits until the model shows it.
    ///
    /// # Errors
    /// `Conflict` when a guard did not hold, `Unavailable` when it could not be stored.
    pub async fn commit(&self, change: Change) -> Result<Rev, FleetError> {
        let Change { tenant, guards, mut ops, audits } = change;
        let mut number = 0;
        for mut audit in audits {
            number = self.next_audit.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            audit.number = number;
            ops.push(Op::put(keys::audit(tenant, number), audit.encode_to_vec()));
        }
        match self.commit_known(guards, ops).await {
            Ok(rev) => {
                self.reached(rev).await;
                Ok(rev)
            }
            Err(CommitError::Conflict(failed)) => {
                // Whoever looks again must see what came first.
                let (_, head) = self.store.get(&keys::audit(tenant, number), Read::Linearizable).await?;
                self.reached(head).await;
                Err(CommitError::Conflict(failed).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Commits what `make` makes of the model, and makes it anew whenever something else came first.
    ///
    /// # Errors
    /// Those of `make`, `Unavailable`.
    pub async fn commit_anew(&self, make: impl Fn() -> Result<Change, FleetError>) -> Result<(), FleetError> {
        for _ in 0..CONTENTION_LIMIT {
            match self.commit(make()?).await {
                Err(error) if error.kind() == Kind::Conflict => {}
                done => return done.map(drop),
            }
        }
        Err(FleetError::new(Kind::Unavailable, "too much changes at once; try again"))
    }

    /// Commits a revocation, as [`Fleet::commit_anew`] does. Whoever is revoked is cut even when that cannot be stored: a
    /// full disk protects nobody.
    ///
    /// # Errors
    /// Those of `make`; `Unavailable` says that they were cut but may come back.
    pub(super) async fn commit_denial(
        &self,
        denied: Denied,
        make: impl Fn() -> Result<Change, FleetError>,
    ) -> Result<(), FleetError> {
        match self.commit_anew(make).await {
            Err(error) if error.kind() == Kind::Unavailable => {
                self.deny(denied);
                let message = format!(
                    "what was open is cut, but the revocation is not stored, so it can come back: {error}"
                );
                Err(FleetError::new(Kind::Unavailable, message))
            }
            done => done,
        }
    }

    /// Commits; while the outcome is unknown it asks again under the same id, so nothing happens twice.
    async fn commit_known(&self, guards: Vec<Guard>, ops: Vec<Op>) -> Result<Rev, CommitError> {
        let op_id = OpId::random();
        let mut outcome = self.store.commit(op_id, guards.clone(), ops.clone()).await;
        for _ in 0..UNKNOWN_RETRIES {
            match outcome {
                Err(CommitError::Unknown { .. }) => {
                    outcome = self.store.commit(op_id, guards.clone(), ops.clone()).await;
                }
                known => return known,
            }
        }
        outcome
    }
}

/// How often a change is made anew because something else came first.
const CONTENTION_LIMIT: usize = 16;
/// How often a commit of unknown outcome is asked for again.
const UNKNOWN_RETRIES: usize = 2;
