//! What the device itself allows: it may forbid what the server would allow, never the other way round.

use std::ops::RangeInclusive;

use crate::grant::{Grant, Host};

/// A device's own rules for tunnels; the default adds nothing to the server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetPolicy {
    /// Ports that are never reached; wins over `allow_ports`.
    pub deny_ports: Vec<RangeInclusive<u16>>,
    /// The only ports that are reached; empty allows every port.
    pub allow_ports: Vec<RangeInclusive<u16>>,
    /// The only other hosts that are reached: a name, an address, or `.suffix`; empty allows every host.
    pub allow_hosts: Vec<String>,
    /// Whether other hosts than the device itself are reached at all.
    pub hosts_allowed: bool,
}

/// What the device's own rules forbid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The port.
    #[error("the device's own policy forbids port {0}")]
    Port(u16),
    /// The host, or every host.
    #[error("the device's own policy forbids that host")]
    Host,
}

impl TargetPolicy {
    /// Checks what a grant asks for.
    ///
    /// # Errors
    /// [`PolicyError`] names what is forbidden.
    pub fn check(&self, grant: &Grant) -> Result<(), PolicyError> {
        let port = grant.port.get();
        let named = |ranges: &[RangeInclusive<u16>]| ranges.iter().any(|range| range.contains(&port));
        if named(&self.deny_ports) || (!self.allow_ports.is_empty() && !named(&self.allow_ports)) {
            return Err(PolicyError::Port(port));
        }
        match &grant.host {
            Host::Device => Ok(()),
            host if self.hosts_allowed && self.allows(&host.to_string()) => Ok(()),
            _ => Err(PolicyError::Host),
        }
    }

    fn allows(&self, host: &str) -> bool {
        let fits = |rule: &String| match rule.starts_with('.') {
            true => host.ends_with(rule.as_str()),
            false => host == rule,
        };
        self.allow_hosts.is_empty() || self.allow_hosts.iter().any(fits)
    }
}

impl Default for TargetPolicy {
    fn default() -> Self {
        Self { deny_ports: Vec::new(), allow_ports: Vec::new(), allow_hosts: Vec::new(), hosts_allowed: true }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::grant::tests::sample;

    #[test]
    fn the_default_forbids_nothing() {
        assert_eq!(TargetPolicy::default().check(&to("db.lan", 5432)), Ok(()));
    }

    #[test]
    fn a_denied_port_wins_over_an_allowed_one() {
        let policy = TargetPolicy {
            deny_ports: vec![22..=22],
            allow_ports: vec![1..=1023],
            ..TargetPolicy::default()
        };
        assert_eq!(policy.check(&to("", 22)), Err(PolicyError::Port(22)));
        assert_eq!(policy.check(&to("", 80)), Ok(()));
        assert_eq!(policy.check(&to("", 5432)), Err(PolicyError::Port(5432)));
    }

    #[test]
    fn a_device_may_be_reached_itself_when_hosts_are_not() {
        let policy = TargetPolicy { hosts_allowed: false, ..TargetPolicy::default() };
        assert_eq!(policy.check(&to("", 22)), Ok(()));
        assert_eq!(policy.check(&to("db.lan", 22)), Err(PolicyError::Host));
    }

    #[test]
    fn a_suffix_allows_the_names_under_it_and_no_look_alikes() {
        let allow_hosts = vec![".lan".to_owned(), "10.0.0.5".to_owned()];
        let policy = TargetPolicy { allow_hosts, ..TargetPolicy::default() };
        assert_eq!(policy.check(&to("db.lan", 22)), Ok(()));
        assert_eq!(policy.check(&to("10.0.0.5", 22)), Ok(()));
        for host in ["evillan", "lan", "db.lan.example.org", "10.0.0.55"] {
            assert_eq!(policy.check(&to(host, 22)), Err(PolicyError::Host), "{host}");
        }
    }

    fn to(host: &str, port: u16) -> Grant {
        let (host, port) = (Host::parse(host).unwrap(), NonZeroU16::new(port).unwrap());
        Grant { host, port, ..sample() }
    }
}
