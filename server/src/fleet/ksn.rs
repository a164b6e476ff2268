//! Devices that are KSN proxies, and how they stand.

use klnet_wire::duties::{KsnProxy, UPSTREAM_LIMIT, UPSTREAMS_LIMIT};
use klnet_wire::id::{DeviceId, TenantId};
use klnet_wire::place::Place;

use super::operators::Caller;
use super::record::KsnRecord;
use super::{Change, Fleet, FleetError, Kind, keys};
use crate::store::Guard;

/// A device that is a KSN proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ksn {
    /// The device.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// What it is run with.
    pub proxy: KsnProxy,
}

impl Fleet {
    /// Every KSN proxy of a tenant, by name.
    pub fn ksn_proxies(&self, tenant: TenantId) -> Vec<Ksn> {
        let model = self.model();
        let ours = model.ksn.iter().filter(|((of, _), _)| *of == tenant);
        let ksn = |(tenant, device): (TenantId, DeviceId), record: &KsnRecord| {
            let name = model.device(tenant, device)?.name();
            Some(Ksn { device, name, proxy: record.proxy.clone().unwrap_or_default() })
        };
        let mut found: Vec<_> = ours.filter_map(|(key, stored)| ksn(*key, &stored.record)).collect();
        found.sort_by(|a, b| (&a.name, a.device).cmp(&(&b.name, b.device)));
        found
    }

    /// Makes a device a KSN proxy, or runs it with something else from now on.
    ///
    /// # Errors
    /// `Invalid` reputation servers, `NotFound`, `Conflict` for a revoked device, `Unavailable`.
    pub async fn set_ksn(&self, by: &Caller, device: DeviceId, proxy: KsnProxy) -> Result<Ksn, FleetError> {
        checked(&proxy)?;
        let (tenant, record) = (by.tenant, KsnRecord { proxy: Some(proxy.clone()) });
        self.commit_anew(|| {
            let name = self.stored_device(tenant, device)?.record.name;
            let unchanged = self.device_unchanged(tenant, device)?;
            if self.is_denied(tenant, device) {
                return Err(FleetError::new(Kind::Conflict, "the device is revoked"));
            }
            let change = Change::new(tenant, &by.name, "ksn.set", &name)
                .detail("device", device)
                .detail("upstreams", proxy.upstreams.join(" "))
                .detail("allow_plain", proxy.allow_plain)
                .guard(unchanged)
                .put(keys::ksn(tenant, device), &record);
            Ok(change)
        })
        .await?;
        let name = self.stored_device(tenant, device)?.record.name;
        Ok(Ksn { device, name, proxy })
    }

    /// Has a device be no KSN proxy any more.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn unset_ksn(&self, by: &Caller, device: DeviceId) -> Result<(), FleetError> {
        let (tenant, key) = (by.tenant, keys::ksn(by.tenant, device));
        self.commit_anew(|| {
            let name = self.stored_device(tenant, device)?.record.name;
            if !self.is_ksn_proxy(tenant, device) {
                return Err(FleetError::not_found(format!("{name} is no KSN proxy")));
            }
            let change = Change::new(tenant, &by.name, "ksn.unset", &name).detail("device", device);
            Ok(change.guard(Guard::Present(key.clone())).delete(key.clone()))
        })
        .await
    }

    /// Whether a device is a KSN proxy.
    pub fn is_ksn_proxy(&self, tenant: TenantId, device: DeviceId) -> bool {
        self.model().ksn.contains_key(&(tenant, device))
    }
}

/// Refuses reputation servers that a device could not dial.
fn checked(proxy: &KsnProxy) -> Result<(), FleetError> {
    if proxy.upstreams.len() > UPSTREAMS_LIMIT {
        return Err(FleetError::invalid(format!("at most {UPSTREAMS_LIMIT} reputation servers")));
    }
    for text in &proxy.upstreams {
        let Place { host, port, .. } =
            Place::parse(text, 0).map_err(|error| FleetError::invalid(error.to_string()))?;
        let is_named = host.chars().all(|c| c.is_ascii_alphanumeric() || "-.:".contains(c));
        if !is_named || port == 0 || text.len() > UPSTREAM_LIMIT {
            return Err(FleetError::invalid(format!("{text:?} is no HOST:PORT")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reputation_server_is_a_host_and_a_port() {
        let of = |upstream: &str| KsnProxy { upstreams: vec![upstream.to_owned()], ..KsnProxy::default() };
        let device = format!("{}@ksn.example.org:1443", DeviceId::random());
        for good in ["ksn.example.org:1443", "192.0.2.1:1443", "[2001:db8::1]:1443", &device] {
            assert!(checked(&of(good)).is_ok(), "{good}");
        }
        for bad in [
            "ksn.example.org",
            "web-7@ksn.example.org:1443",
            ":1443",
            "a b:1443",
            "a:0",
            "a:70000",
            "a\u{1b}:1443",
            "",
        ] {
            assert!(checked(&of(bad)).is_err(), "{bad}");
        }
    }
}
