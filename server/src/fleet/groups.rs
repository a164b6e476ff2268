//! Groups: a tree; a device is in exactly one.

use klnet_wire::id::{GroupId, TenantId};

use super::operators::Caller;
use super::record::GroupRecord;
use super::{Change, Fleet, FleetError, Kind, keys, names};
use crate::store::Guard;

/// A group of devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its identity.
    pub id: GroupId,
    /// Its name among its siblings; empty for the root.
    pub name: String,
    /// The group it is in; none for the root.
    pub parent: Option<GroupId>,
    /// `/` for the root, `/a/b` below it.
    pub path: String,
    /// Devices in it, not counting groups below it nor revoked devices.
    pub devices: usize,
}

/// The root group of a tenant has the tenant's own number: it is there without being looked up.
pub(super) const fn root(tenant: TenantId) -> GroupId {
    GroupId::new(*tenant.as_bytes())
}

impl Fleet {
    /// Every group of a tenant, by path.
    pub fn groups(&self, tenant: TenantId) -> Vec<Group> {
        let model = self.model();
        let ours = model.groups.iter().filter(|((of, _), _)| *of == tenant);
        let mut groups: Vec<_> = ours
            .map(|((_, id), stored)| Group {
                id: *id,
                name: stored.record.name.clone(),
                parent: GroupId::try_from(stored.record.parent.as_slice()).ok(),
                path: model.path(tenant, *id),
                devices: model.members(tenant, *id),
            })
            .collect();
        groups.sort_by(|a, b| a.path.cmp(&b.path));
        groups
    }

    /// The group with this path or id.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn group(&self, tenant: TenantId, path_or_id: &str) -> Result<Group, FleetError> {
        let path = if path_or_id.starts_with('/') { path_or_id.to_owned() } else { format!("/{path_or_id}") };
        let wanted = |group: &Group| group.path == path || group.id.to_string() == path_or_id;
        let found = self.groups(tenant).into_iter().find(wanted);
        found.ok_or_else(|| FleetError::not_found(format!("there is no group {path_or_id:?}")))
    }

    /// Adds a group under `parent`, or under the root.
    ///
    /// # Errors
    /// `Invalid` name, `NotFound` parent, `Conflict` when there is one already, `Limit`.
    pub async fn add_group(
        &self,
        by: &Caller,
        name: &str,
        parent: Option<GroupId>,
    ) -> Result<Group, FleetError> {
        let name = names::checked(name)?;
        let parent = self.group(by.tenant, &parent.unwrap_or(root(by.tenant)).to_string())?;
        let groups = self.groups(by.tenant);
        if groups.iter().any(|group| group.parent == Some(parent.id) && group.name == name) {
            return Err(FleetError::new(
                Kind::Conflict,
                format!("{} has a group {name:?} already", parent.path),
            ));
        }
        if groups.len() >= GROUPS_LIMIT || parent.path.matches('/').count() >= DEPTH_LIMIT {
            let message = format!("at most {GROUPS_LIMIT} groups, {DEPTH_LIMIT} deep");
            return Err(FleetError::new(Kind::Limit, message));
        }
        let (id, parent_key) = (GroupId::random(), keys::group(by.tenant, parent.id));
        let record = GroupRecord { name: name.to_owned(), parent: parent.id.to_vec() };
        let change = Change::new(by.tenant, &by.name, "group.add", name)
            .detail("under", &parent.path)
            .guard(Guard::Present(parent_key))
            .put(keys::group(by.tenant, id), &record);
        self.commit(change).await?;
        self.group(by.tenant, &id.to_string())
    }

    /// Removes an empty group.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` for the root, `Conflict` while it holds devices or groups.
    pub async fn remove_group(&self, by: &Caller, id: GroupId) -> Result<(), FleetError> {
        let group = self.group(by.tenant, &id.to_string())?;
        if group.parent.is_none() {
            return Err(FleetError::invalid("the root group stays"));
        }
        if self.tokens(by.tenant).iter().any(|token| token.group == id) {
            let message = format!("an enrolment token sends devices to {}; remove it first", group.path);
            return Err(FleetError::new(Kind::Conflict, message));
        }
        let (key, served) = (keys::group(by.tenant, id), keys::served(by.tenant, id));
        let rev = {
            let model = self.model();
            let used = model.members(by.tenant, id) > 0;
            if used || model.groups.values().any(|group| group.record.parent == id.as_bytes()) {
                return Err(FleetError::new(Kind::Conflict, format!("{} is not empty", group.path)));
            }
            let of_it = |of: TenantId, group: &[u8]| of == by.tenant && group == id.as_bytes();
            let mut points = model.points.iter();
            if points.any(|((of, _), point)| of_it(*of, &point.record.group)) {
                let message = format!("{} has a distribution point: klctl dp unassign", group.path);
                return Err(FleetError::new(Kind::Conflict, message));
            }
            let mut objects = model.distributions.iter();
            if objects.any(|((of, _), object)| of_it(*of, &object.record.group)) {
                let message =
                    format!("an object is distributed to {}: klctl distribution remove", group.path);
                return Err(FleetError::new(Kind::Conflict, message));
            }
            model.groups.get(&(by.tenant, id)).map(|stored| stored.rev).unwrap_or_default()
        };
        let change = Change::new(by.tenant, &by.name, "group.remove", &group.path)
            .guard(Guard::ModRev(key.clone(), rev))
            .guard(Guard::Absent(served))
            .delete(key);
        self.commit(change).await.map(drop)
    }

    pub(super) async fn ensure_root_group(&self) -> Result<(), FleetError> {
        let tenant = self.fabric.tenant();
        if self.model().groups.contains_key(&(tenant, root(tenant))) {
            return Ok(());
        }
        let key = keys::group(tenant, root(tenant));
        let change = Change::new(tenant, "klserver", "group.add", "/")
            .guard(Guard::Absent(key.clone()))
            .put(key, &GroupRecord::default());
        self.commit(change).await.map(drop)
    }
}

/// Most groups of a tenant.
const GROUPS_LIMIT: usize = 10_000;
/// Deepest nesting.
const DEPTH_LIMIT: usize = 32;
