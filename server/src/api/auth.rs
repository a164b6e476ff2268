//! Who may do what: the one place where a request is let in or refused.

use std::fmt;

use klnet_wire::identity::{Principal, Role};

use super::reply::Refusal;
use crate::fleet::{Caller, Device, Fleet, OperatorRole, Roles};

/// What a route asks of whoever calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: discovery, enrolment, the first login.
    Public,
    /// The certificate of a device that is enrolled.
    Agent,
    /// The certificate of an operator who has this right.
    Operator(Right),
}

/// What an operator wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Look; any role gives it.
    View,
    /// Ask for tunnels; which ones, the grant decides.
    Tunnel,
    /// Change the fleet.
    Administer,
}

impl Right {
    fn of(self, roles: &Roles) -> bool {
        use OperatorRole::{Administrator, Rdp, Tunnel, TunnelHosts};
        match self {
            Self::View => !roles.is_empty(),
            Self::Tunnel => [Tunnel, TunnelHosts, Rdp].into_iter().any(|role| roles.allow(role)),
            Self::Administer => roles.allow(Administrator),
        }
    }
}

/// Lets in a device.
///
/// # Errors
/// [`Refusal`] unless the certificate is an agent's and its device is enrolled and not revoked.
pub fn device(fleet: &Fleet, principal: Option<&Principal>) -> Result<Device, Refusal> {
    Ok(fleet.device_of(holder(principal, Role::Agent)?)?)
}

/// Lets in an operator.
///
/// # Errors
/// [`Refusal`] unless the certificate is an operator's who is known, not revoked, and has `right`.
pub fn operator(fleet: &Fleet, principal: Option<&Principal>, right: Right) -> Result<Caller, Refusal> {
    let caller = fleet.caller(holder(principal, Role::Operator)?)?;
    match right.of(&caller.roles) {
        true => Ok(caller),
        false => Err(Refusal::denied(format!("this takes the right to {right}"))),
    }
}

fn holder(principal: Option<&Principal>, role: Role) -> Result<&Principal, Refusal> {
    let principal = principal.ok_or_else(Refusal::certificate)?;
    match principal.role == role {
        true => Ok(principal),
        false => Err(Refusal::denied(format!("this is for certificates of role {role}"))),
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::View => "view",
            Self::Tunnel => "tunnel",
            Self::Administer => "administer",
        })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("public"),
            Self::Agent => f.write_str("agent"),
            Self::Operator(right) => write!(f, "operator: {right}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_follow_from_roles() {
        use OperatorRole::{Administrator, Rdp, Tunnel, TunnelHosts};
        let rights = |roles: &[OperatorRole]| {
            let roles = roles.iter().copied().collect();
            [Right::View, Right::Tunnel, Right::Administer].map(|right| right.of(&roles))
        };
        assert_eq!(rights(&[]), [false, false, false]);
        assert_eq!(rights(&[Tunnel]), [true, true, false]);
        assert_eq!(rights(&[TunnelHosts]), [true, true, false]);
        assert_eq!(rights(&[Rdp]), [true, true, false]);
        assert_eq!(rights(&[Administrator]), [true, true, true]);
    }
}
