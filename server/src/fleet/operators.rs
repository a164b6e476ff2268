//! Operators: people with a key of their own and roles.

use std::time::{Duration, SystemTime};

use klnet_wire::id::{OperatorId, TenantId};
use klnet_wire::identity::{Principal, Role};
use klnet_wire::signed::PublicKey;

use super::certificate::Use;
use super::record::OperatorRecord;
use super::renewal::superseded;
use super::roles::{OperatorRole, Roles};
use super::secret::Secret;
use super::{Change, Denied, Fleet, FleetError, Kind, Stored, keys, names};
use crate::invitation::Invitation;
use crate::store::Guard;
use crate::unix::{seconds, time};

/// An operator as other operators see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Their identity, for ever.
    pub id: OperatorId,
    /// Their name, unique in the tenant.
    pub name: String,
    /// What they may do.
    pub roles: Roles,
    /// When they were added.
    pub created: SystemTime,
    /// When they were revoked.
    pub revoked: Option<SystemTime>,
    /// Until when their invitation is good, while they have not logged in.
    pub invited_until: Option<SystemTime>,
}

/// The operator on whose behalf something is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub operator: OperatorId,
    /// Their name, for the audit log.
    pub name: String,
    /// Their tenant: nothing of another is within reach.
    pub tenant: TenantId,
    /// What they may do.
    pub roles: Roles,
}

impl Fleet {
    /// The operator a verified certificate names, if they may act.
    ///
    /// # Errors
    /// `Denied` when it is no operator, unknown, or revoked; `Superseded` when it is not one of the newest two.
    pub fn caller(&self, principal: &Principal) -> Result<Caller, FleetError> {
        if principal.role != Role::Operator {
            return Err(FleetError::denied("this is for operators only"));
        }
        let model = self.model();
        let stored = model.operators.get(&(principal.tenant, principal.id()));
        let record = &stored.ok_or_else(|| FleetError::denied("this operator is not known here"))?.record;
        let who = format!("operator {}", record.name);
        if record.revoked != 0 {
            return Err(FleetError::denied(format!("{who} was revoked")));
        }
        self.judge(&principal.serial, &who)?;
        if Use::of(&principal.serial, &record.serial, record.pending.as_ref()) == Use::Superseded {
            return Err(superseded(principal));
        }
        let roles = roles(record);
        Ok(Caller { operator: principal.id(), name: record.name.clone(), tenant: principal.tenant, roles })
    }

    /// Every operator who was revoked.
    pub fn denied_operators(&self) -> Vec<OperatorId> {
        let model = self.model();
        let revoked = model.operators.iter().filter(|(_, operator)| operator.record.revoked != 0);
        revoked.map(|((_, id), _)| *id).collect()
    }

    /// Every operator of a tenant, by name.
    pub fn operators(&self, tenant: TenantId) -> Vec<Operator> {
        let model = self.model();
        let ours = model.operators.iter().filter(|((of, _), _)| *of == tenant);
        let mut operators: Vec<_> = ours.map(|((_, id), stored)| shown(*id, &stored.record)).collect();
        operators.sort_by(|a, b| a.name.cmp(&b.name));
        operators
    }

    /// The operator with this id or name.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn operator(&self, tenant: TenantId, name_or_id: &str) -> Result<Operator, FleetError> {
        let wanted =
            |operator: &Operator| operator.name == name_or_id || operator.id.to_string() == name_or_id;
        let mut found: Vec<_> = self.operators(tenant).into_iter().filter(wanted).collect();
        found.sort_by_key(|operator| operator.revoked.is_some());
        let first = found.into_iter().next();
        first.ok_or_else(|| FleetError::not_found(format!("there is no operator {name_or_id:?}")))
    }

    /// The public key of an operator who has logged in.
    pub fn operator_key(&self, tenant: TenantId, operator: OperatorId) -> Option<PublicKey> {
        let model = self.model();
        PublicKey::try_from(model.operators.get(&(tenant, operator))?.record.key.as_slice()).ok()
    }

    /// Adds an operator, and gives the invitation that is shown once.
    ///
    /// # Errors
    /// `Invalid` name or no roles, `Conflict` when the name is in use, `Unavailable`.
    pub async fn add_operator(
        &self,
        by: &Caller,
        name: &str,
        roles: Roles,
        ttl: Duration,
    ) -> Result<(Operator, String), FleetError> {
        self.invite(by.tenant, &by.name, name, roles, ttl).await
    }

    /// Adds the first operator of a new server, once: `klserver init`.
    ///
    /// # Errors
    /// `Conflict` when the tenant has operators already.
    pub async fn add_first_operator(
        &self,
        name: &str,
        ttl: Duration,
    ) -> Result<(Operator, String), FleetError> {
        let tenant = self.fabric.tenant();
        if !self.operators(tenant).is_empty() {
            return Err(FleetError::new(Kind::Conflict, "this server has operators already"));
        }
        let roles = [OperatorRole::Administrator].into_iter().collect();
        self.invite(tenant, "klserver init", name, roles, ttl).await
    }

    /// Invites an administrator on behalf of whoever holds the state folder: `klserver invite`.
    ///
    /// # Errors
    /// As [`Fleet::add_operator`].
    pub async fn add_administrator(
        &self,
        name: &str,
        ttl: Duration,
    ) -> Result<(Operator, String), FleetError> {
        let roles = [OperatorRole::Administrator].into_iter().collect();
        self.invite(self.fabric.tenant(), "klserver invite", name, roles, ttl).await
    }

    async fn invite(
        &self,
        tenant: TenantId,
        actor: &str,
        name: &str,
        roles: Roles,
        ttl: Duration,
    ) -> Result<(Operator, String), FleetError> {
        let name = names::checked(name)?;
        if roles.is_empty() {
            return Err(FleetError::invalid("an operator needs at least one role"));
        }
        let (id, secret, now) = (OperatorId::random(), Secret::random(), SystemTime::now());
        let record = OperatorRecord {
            name: name.to_owned(),
            roles: roles.iter().map(|role| role.name().to_owned()).collect(),
            created: seconds(now),
            invitation: secret.hash().to_vec(),
            invited_until: seconds(now + ttl),
            ..OperatorRecord::default()
        };
        let name_key = keys::operator_name(tenant, name);
        let change = Change::new(tenant, actor, "operator.add", name)
            .detail("roles", &roles)
            .guard(Guard::Absent(name_key.clone()))
            .put(name_key, &id.to_vec())
            .put(keys::operator(tenant, id), &record);
        match self.commit(change).await {
            Err(error) if error.kind() == Kind::Conflict => {
                Err(FleetError::new(Kind::Conflict, format!("there is an operator {name:?} already")))
            }
            Err(error) => Err(error),
            Ok(_) => Ok((shown(id, &record), self.invitation(name, &secret))),
        }
    }

    fn invitation(&self, name: &str, secret: &Secret) -> String {
        let url = self.directory.url().to_owned();
        Invitation {
            root: self.fabric.trust().pin(),
            secret: secret.bytes().clone(),
            name: name.to_owned(),
            url,
        }
        .print()
    }

    /// Revokes an operator for ever: their sessions and tunnels are cut. The name becomes free.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` when revoked already or the last administrator, `Unavailable`.
    pub async fn revoke_operator(&self, by: &Caller, id: OperatorId, reason: &str) -> Result<(), FleetError> {
        self.commit_denial(Denied::Operator(id), || self.revocation(by, id, reason)).await
    }

    fn revocation(&self, by: &Caller, id: OperatorId, reason: &str) -> Result<Change, FleetError> {
        let Stored { record, rev } = self.stored_operator(by.tenant, id)?;
        if record.revoked != 0 {
            return Err(FleetError::new(Kind::Conflict, "the operator is revoked already"));
        }
        let remains = self.administrator_besides(by.tenant, id);
        if roles(&record).allow(OperatorRole::Administrator) && remains.is_none() {
            return Err(FleetError::new(Kind::Conflict, "the last administrator cannot be revoked"));
        }
        let key = keys::operator(by.tenant, id);
        let name = record.name.clone();
        let record = OperatorRecord { revoked: seconds(SystemTime::now()), invitation: Vec::new(), ..record };
        let change = Change::new(by.tenant, &by.name, "operator.revoke", &name)
            .detail("operator", id)
            .detail("reason", names::told(reason))
            .guard(Guard::ModRev(key.clone(), rev))
            .put(key, &record)
            .delete(keys::operator_name(by.tenant, &name));
        // Two administrators who revoke each other at the same time: one comes first.
        Ok(remains.into_iter().fold(change, Change::guard))
    }

    /// A condition that holds while some other administrator, who has logged in, stays one.
    fn administrator_besides(&self, tenant: TenantId, id: OperatorId) -> Option<Guard> {
        let model = self.model();
        let able = |record: &OperatorRecord| {
            record.revoked == 0 && !record.key.is_empty() && roles(record).allow(OperatorRole::Administrator)
        };
        let mut others = model.operators.iter().filter(|((of, other), _)| *of == tenant && *other != id);
        let ((_, other), stored) = others.find(|(_, stored)| able(&stored.record))?;
        Some(Guard::ModRev(keys::operator(tenant, *other), stored.rev))
    }

    /// A condition that holds while the operator is as they are now.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn operator_unchanged(&self, tenant: TenantId, operator: OperatorId) -> Result<Guard, FleetError> {
        let rev = self.stored_operator(tenant, operator)?.rev;
        Ok(Guard::ModRev(keys::operator(tenant, operator), rev))
    }

    fn stored_operator(
        &self,
        tenant: TenantId,
        id: OperatorId,
    ) -> Result<Stored<OperatorRecord>, FleetError> {
        let model = self.model();
        let stored = model.operators.get(&(tenant, id)).cloned();
        stored.ok_or_else(|| FleetError::not_found(format!("there is no operator {id}")))
    }

    /// Who was invited with this secret and has not logged in yet.
    pub(super) fn invited(&self, hash: &[u8; 32]) -> Option<(TenantId, OperatorId, Stored<OperatorRecord>)> {
        let model = self.model();
        let mut operators = model.operators.iter();
        let found = operators.find(|(_, stored)| stored.record.invitation == hash);
        found.map(|((tenant, id), stored)| (*tenant, *id, stored.clone()))
    }
}

fn roles(record: &OperatorRecord) -> Roles {
    // A role of a newer version gives nothing here.
    record.roles.iter().filter_map(|name| name.parse().ok()).collect()
}

fn shown(id: OperatorId, record: &OperatorRecord) -> Operator {
    Operator {
        id,
        name: record.name.clone(),
        roles: roles(record),
        created: time(record.created).unwrap_or(SystemTime::UNIX_EPOCH),
        revoked: time(record.revoked),
        invited_until: time(record.invited_until).filter(|_| !record.invitation.is_empty()),
    }
}
