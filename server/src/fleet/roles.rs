//! What an operator may do.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// One right of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperatorRole {
    /// Everything, including other operators.
    Administrator,
    /// Tunnels to ports of a device itself.
    Tunnel,
    /// Tunnels through a device to hosts beside it.
    TunnelHosts,
    /// Tunnels to the remote desktop port, 3389.
    Rdp,
}

/// The rights of one operator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roles(BTreeSet<OperatorRole>);

/// A name that is no operator's role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a role; roles are administrator, tunnel, tunnel-hosts, rdp")]
pub struct NotARole(String);

impl OperatorRole {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Administrator, Self::Tunnel, Self::TunnelHosts, Self::Rdp];

    /// The role's name in commands and in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Tunnel => "tunnel",
            Self::TunnelHosts => "tunnel-hosts",
            Self::Rdp => "rdp",
        }
    }
}

impl Roles {
    /// Whether `role` is among them; an administrator has every role.
    pub fn allow(&self, role: OperatorRole) -> bool {
        self.0.contains(&role) || self.0.contains(&OperatorRole::Administrator)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The roles in order.
    pub fn iter(&self) -> impl Iterator<Item = OperatorRole> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<OperatorRole> for Roles {
    fn from_iter<I: IntoIterator<Item = OperatorRole>>(roles: I) -> Self {
        Self(roles.into_iter().collect())
    }
}

impl FromStr for OperatorRole {
    type Err = NotARole;

    fn from_str(text: &str) -> Result<Self, NotARole> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| NotARole(text.to_owned()))
    }
}

impl fmt::Display for OperatorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(OperatorRole::name).collect();
        f.write_str(&names.join(", "))
    }
}
