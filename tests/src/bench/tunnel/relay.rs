//! Our relay alone: the one of a real `klserver`, between an initiator and a target that encrypt nothing.

use std::collections::VecDeque;
use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result};
use klnet_tunnel::blob::Blob;
use klnet_tunnel::label::Label;
use klnet_tunnel::net::inner;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::far_end::FarEnd;
use super::product::{Pair, Product};
use super::site::Site;
use crate::bench::server::Server;
use crate::fleet::PATIENCE;

/// A server with as many devices as the connections need that are opened through it.
pub(super) struct Relay {
    site: Site,
    far_ends: Vec<FarEnd>,
    grants_of_last: usize,
    flights: VecDeque<Vec<u8>>,
    joining: Sender<TcpStream>,
    joined: Receiver<TcpStream>,
    server: Server,
}

impl Relay {
    /// Starts the server on the relay's core.
    pub(super) fn start(site: &Site) -> Result<Self> {
        let server = Server::start(&site.relay_core(), site.relay_address, QUIET)?;
        let (joining, joined) = channel();
        let (site, far_ends, flights) = (site.clone(), Vec::new(), VecDeque::new());
        Ok(Self { site, far_ends, grants_of_last: GRANTS_PER_DEVICE, flights, joining, joined, server })
    }

    /// Mints one more grant, and makes the first flights of all its connections.
    fn mint(&mut self) -> Result<()> {
        if self.grants_of_last >= GRANTS_PER_DEVICE {
            self.add_device()?;
        }
        let blob = self.server.grant(&name(self.far_ends.len() - 1), SERVICE)?;
        self.grants_of_last += 1;
        for number in 0..blob.grant.connections.get() {
            self.flights.push_back(self.first_flight(&blob, number)?);
        }
        Ok(())
    }

    fn add_device(&mut self) -> Result<()> {
        let folder = self.server.enroll(&self.site.device, &name(self.far_ends.len()))?;
        let agents = self.server.agents();
        self.far_ends.push(FarEnd::start(&self.site.device, &folder, agents, self.joining.clone())?);
        self.grants_of_last = 0;
        Ok(())
    }

    /// The ClientHello with which an initiator begins connection `number` of a grant.
    fn first_flight(&self, blob: &Blob, number: u32) -> Result<Vec<u8>> {
        let label = Label::of(&blob.secret, blob.grant.id, number);
        let tls = inner::initiator_config(&self.server.profile.identity.key, &blob.agent);
        let mut connection = ClientConnection::new(tls, ServerName::try_from(label.server_name())?)?;
        let mut flight = Vec::new();
        connection.write_tls(&mut flight)?;
        Ok(flight)
    }
}

impl Product for Relay {
    fn name(&self) -> &'static str {
        "klserver"
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.server.process.id()]
    }

    fn open(&mut self) -> Result<Pair> {
        self.reserve(1)?;
        let flight = self.flights.pop_front().context("one was reserved")?;
        let mut near = TcpStream::connect(self.server.tunnels())?;
        near.set_nodelay(true)?;
        near.write_all(&flight)?;
        let far = self.joined.recv_timeout(PATIENCE).context("the relay does not join the connection")?;
        Ok(Pair { near, far })
    }

    fn reserve(&mut self, connections: usize) -> Result<()> {
        while self.flights.len() < connections {
            self.mint()?;
        }
        Ok(())
    }
}

fn name(device: usize) -> String {
    format!("device-{device}")
}

/// Heartbeats far apart, so that all it does is relaying.
const QUIET: &str = "heartbeat_min = \"10m\"\nheartbeat_max = \"10m\"";
/// As many grants as a device may have at once (`klnet_tunnel::relay::Limits`).
const GRANTS_PER_DEVICE: usize = 64;
/// Nobody dials it.
const SERVICE: u16 = 9;
