//! `[limits]`: how much one device, operator or tenant may have at once.

use std::num::NonZeroU64;

use klnet_tunnel::{relay, target};
use serde::Deserialize;

use super::Mistakes;
use crate::units::{print_rate, rate};

/// Bounds of grants, connections and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Live grants to one device.
    pub grants_per_device: usize,
    /// Live grants of one operator.
    pub grants_per_operator: usize,
    /// Live grants of one tenant.
    pub grants_per_tenant: usize,
    /// Tunnel connections at once to one device.
    pub connections_per_device: usize,
    /// Tunnel connections at once of one operator.
    pub connections_per_operator: usize,
    /// Tunnel connections at once of one tenant.
    pub connections_per_tenant: usize,
    /// Bytes a second that all tunnels of one tenant carry together; `None` is unlimited.
    pub tenant_rate: Option<NonZeroU64>,
}

/// The table as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    grants_per_device: Option<usize>,
    grants_per_operator: Option<usize>,
    grants_per_tenant: Option<usize>,
    connections_per_device: Option<usize>,
    connections_per_operator: Option<usize>,
    connections_per_tenant: Option<usize>,
    tenant_rate: Option<String>,
}

impl Limits {
    /// What is left out has the relay's default. A device itself takes no more than its own limits.
    pub(super) fn new(raw: Raw, mistakes: &mut Mistakes) -> Self {
        let (usual, device) = (relay::Limits::default(), target::Limits::default());
        let tenant_rate = raw.tenant_rate.and_then(|text| mistakes.take("limits.tenant_rate", &text, rate));
        let limits = Self {
            grants_per_device: raw.grants_per_device.unwrap_or(usual.grants_per_device),
            grants_per_operator: raw.grants_per_operator.unwrap_or(usual.grants_per_operator),
            grants_per_tenant: raw.grants_per_tenant.unwrap_or(usual.grants_per_tenant),
            connections_per_device: raw.connections_per_device.unwrap_or(usual.connections_per_device),
            connections_per_operator: raw.connections_per_operator.unwrap_or(usual.connections_per_operator),
            connections_per_tenant: raw.connections_per_tenant.unwrap_or(usual.connections_per_tenant),
            tenant_rate,
        };
        let most = [device.grants, usual.grants, usual.grants];
        let most = most.into_iter().chain([device.connections, CONNECTIONS_LIMIT, CONNECTIONS_LIMIT]);
        for ((key, value), most) in limits.counts().into_iter().zip(most) {
            let holds = (1..=most).contains(&value);
            mistakes.expect(&format!("limits.{key}"), holds, &format!("is not between 1 and {most}"));
        }
        limits
    }

    /// Every count by its key, in the order of the file.
    fn counts(&self) -> [(&'static str, usize); 6] {
        [
            ("grants_per_device", self.grants_per_device),
            ("grants_per_operator", self.grants_per_operator),
            ("grants_per_tenant", self.grants_per_tenant),
            ("connections_per_device", self.connections_per_device),
            ("connections_per_operator", self.connections_per_operator),
            ("connections_per_tenant", self.connections_per_tenant),
        ]
    }

    /// As the relay keeps to them.
    pub fn relay(&self) -> relay::Limits {
        relay::Limits {
            grants_per_device: self.grants_per_device,
            grants_per_operator: self.grants_per_operator,
            grants_per_tenant: self.grants_per_tenant,
            connections_per_device: self.connections_per_device,
            connections_per_operator: self.connections_per_operator,
            connections_per_tenant: self.connections_per_tenant,
            ..relay::Limits::default()
        }
    }

    pub(super) fn to_toml(self) -> String {
        let rate = self.tenant_rate.map_or("# tenant_rate = \"1Gbit/s\"".to_owned(), |rate| {
            format!("tenant_rate = \"{}\"", print_rate(rate))
        });
        let counts = self.counts().map(|(key, value)| format!("{key} = {value}\n"));
        format!("\n[limits]\n{}{rate}\n", counts.concat())
    }
}

/// More than the descriptors of any process carry.
const CONNECTIONS_LIMIT: usize = 1_000_000;
