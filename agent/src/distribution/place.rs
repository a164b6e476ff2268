//! Where distribution takes place: the device as it is known now, and its folders.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use klnet_wire::id::DeviceId;
use klnet_wire::identity::Role;
use klnet_wire::identity::crl::Crls;
use klnet_wire::identity::tls::{ALPN_HTTP, Clients, Shown, server_config};
use klnet_wire::signing::SigningKey;
use rustls::ServerConfig;

use crate::config::Ports;
use crate::state::Device;

/// What the parts of distribution share.
#[derive(Debug)]
pub(super) struct Place {
    /// With its newest certificate, and the newest roots.
    device: Mutex<Device>,
    pub(super) crls: Arc<Crls>,
    /// The state folder.
    pub(super) folder: PathBuf,
    /// Announces sessions, should this be a distribution point.
    pub(super) announcer: SigningKey,
    pub(super) ports: Ports,
}

impl Place {
    pub(super) fn new(
        device: Device,
        crls: Arc<Crls>,
        folder: PathBuf,
        announcer: SigningKey,
        ports: Ports,
    ) -> Self {
        Self { device: Mutex::new(device), crls, folder, announcer, ports }
    }

    /// The device has another certificate, or knows other roots, from now on.
    pub(super) fn identify(&self, device: Device) {
        *self.device.lock().expect("no holder panics") = device;
    }

    /// The device as it is now.
    pub(super) fn device(&self) -> Device {
        self.device.lock().expect("no holder panics").clone()
    }

    /// Which device this is.
    pub(super) fn id(&self) -> DeviceId {
        self.device.lock().expect("no holder panics").principal.id()
    }

    /// How members are met who ask for files: made for each of them, since certificates and roots change meanwhile.
    pub(super) fn tls(&self) -> io::Result<Arc<ServerConfig>> {
        let device = self.device();
        let (shown, clients) = (Shown::new(&device.identity), Clients::Required(&[Role::Agent]));
        let config = server_config(&shown, device.trust, Some(Arc::clone(&self.crls)), clients, &[ALPN_HTTP]);
        config.map_err(io::Error::other)
    }
}
