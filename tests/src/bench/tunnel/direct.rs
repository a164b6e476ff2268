//! Nothing in between: what the machine itself can do.

use std::net::SocketAddr;

use anyhow::Result;

use super::product::{Forwarded, listen};
use super::site::Site;

/// Connections straight to the service, which is in reach of the operator on a loopback only.
pub(super) fn start(site: &Site) -> Result<Forwarded> {
    let service = listen(&site.device)?;
    let port = SocketAddr::from((site.device_address, service.local_addr()?.port()));
    Ok(Forwarded { name: "direct", port, service, programs: Box::new(()) })
}
