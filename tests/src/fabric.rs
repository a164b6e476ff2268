//! Who may speak to whom where there is no server: certificates of one root.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use klnet_wire::id::{DeviceId, TenantId};
use klnet_wire::identity::authority::{Authority, Leaf, make_root};
use klnet_wire::identity::tls::Identity;
use klnet_wire::identity::{Principal, Role, Trust};
use klnet_wire::signing::SigningKey;

/// A root and its authority.
#[derive(Debug)]
pub struct Fabric {
    authority: Authority,
    /// What whoever believes them knows.
    pub trust: Trust,
}

impl Fabric {
    /// A new root, and an authority below it.
    ///
    /// # Errors
    /// When they cannot be signed.
    pub fn new() -> Result<Self> {
        let (root, now) = (SigningKey::generate_p256(), SystemTime::now());
        let trust = make_root(&root, now)?;
        let authority = Authority::make(trust.clone(), &root, SigningKey::generate_p256(), now)?;
        Ok(Self { authority, trust })
    }

    /// An identity of whoever is at this address, for a day.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn issue(&self, role: Role, address: Ipv4Addr) -> Result<Identity> {
        let key = SigningKey::generate_p256();
        let principal = Principal {
            fabric: self.trust.fabric(),
            tenant: TenantId::new([0; 16]),
            role,
            id: *DeviceId::random().as_bytes(),
            serial: Vec::new(),
        };
        let leaf =
            Leaf::new(principal, vec![address.to_string()], SystemTime::now(), Duration::from_hours(24));
        Ok(Identity { chain: self.authority.issue(key.public(), &leaf)?, key })
    }
}
