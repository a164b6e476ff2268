//! `[limits]`: how much one device, operator or tenant may have at once.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;

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
    pub(super) fn new(raw: Raw, mistakes: &mut Mistakes) -> Self {
        let (relay, device) = (relay::Limits::default(), target::Limits::default());
        let (grants, connections) = (1..=relay.grants, 1..=CONNECTIONS_LIMIT);
        let mut count = |key, given: Option<usize>, default, range: &RangeInclusive<usize>| {
            let value = given.unwrap_or(default);
            let otherwise = format!("is not between {} and {}", range.start(), range.end());
            mistakes.expect(key, range.contains(&value), &otherwise);
            value
        };
        Self {
            // A device itself takes no more.
            grants_per_device: count(
                "limits.grants_per_device",
                raw.grants_per_device,
                relay.grants_per_device,
                &(1..=device.grants),
            ),
            grants_per_operator: count(
                "limits.grants_per_operator",
                raw.grants_per_operator,
                relay.grants_per_operator,
                &grants,
            ),
            grants_per_tenant: count(
                "limits.grants_per_tenant",
                raw.grants_per_tenant,
                relay.grants_per_tenant,
                &grants,
            ),
            connections_per_device: count(
                "limits.connections_per_device",
                raw.connections_per_device,
                relay.connections_per_device,
                &(1..=device.connections),
            ),
            connections_per_operator: count(
                "limits.connections_per_operator",
                raw.connections_per_operator,
                relay.connections_per_operator,
                &connections,
            ),
            connections_per_tenant: count(
                "limits.connections_per_tenant",
                raw.connections_per_tenant,
                relay.connections_per_tenant,
                &connections,
            ),
            tenant_rate: raw.tenant_rate.and_then(|text| mistakes.take("limits.tenant_rate", &text, rate)),
        }
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
        format!(
            "\n[limits]\ngrants_per_device = {}\ngrants_per_operator = {}\ngrants_per_tenant = {}\n\
             connections_per_device = {}\nconnections_per_operator = {}\nconnections_per_tenant = {}\n{rate}\n",
            self.grants_per_device,
            self.grants_per_operator,
            self.grants_per_tenant,
            self.connections_per_device,
            self.connections_per_operator,
            self.connections_per_tenant,
        )
    }
}

/// More than the descriptors of any process carry.
const CONNECTIONS_LIMIT: usize = 1_000_000;
