//! What to poll, and how.

use std::net::SocketAddr;

use crate::plan::Plan;
use crate::profile::Profile;

/// What to poll, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The addresses.
    pub plan: Plan,
    /// What is looked for there.
    pub find: Find,
    /// How fast.
    pub profile: Profile,
    /// Ports that hosts behind routers are asked at when they do not answer echo.
    pub tcp: Vec<u16>,
    /// Whether to use what needs privileges.
    pub raw: bool,
    /// Whose names to ask for.
    pub names: Names,
    /// Whom to ask for names; the system's server when none is given.
    pub server: Option<SocketAddr>,
    /// The wanted probability that a host is found.
    pub recall: f64,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Find {
    /// Hosts, by whatever they answer.
    #[default]
    Hosts,
    /// NetBIOS names. On the link those who answer ARP are asked, behind routers everybody; who says no name is not told.
    NetBios,
}

/// Whose names to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Names {
    /// Nobody's.
    None,
    /// Those of hosts that answered.
    #[default]
    Alive,
    /// Those of every address of the plan.
    All,
}
