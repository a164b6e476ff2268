//! What is compared: a way from a near end to a far end through somebody's programs.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::SockRef;

use crate::fleet::PATIENCE;
use crate::lab::{Host, Process, cpu_time};

/// A running product; its programs end when it is dropped.
pub(super) trait Product: Send {
    /// As it stands in the table.
    fn name(&self) -> &'static str;

    /// Every program whose CPU time counts.
    fn processes(&self) -> Vec<u32>;

    /// Opens a connection through it and gives both ends. To be called on the operator's machine.
    fn open(&mut self) -> Result<Pair>;

    /// Prepares for so many more connections, so that opening them does nothing else.
    fn reserve(&mut self, _connections: usize) -> Result<()> {
        Ok(())
    }

    /// CPU time its programs have used.
    fn cpu(&self) -> Result<Duration> {
        self.processes().into_iter().map(cpu_time).sum()
    }
}

/// Both ends of a connection through a product.
#[derive(Debug)]
pub(super) struct Pair {
    /// The operator's.
    pub(super) near: TcpStream,
    /// The service's.
    pub(super) far: TcpStream,
}

/// Opens so many connections, on the operator's machine.
pub(super) fn open(product: &mut dyn Product, operator: &Host, connections: usize) -> Result<Vec<Pair>> {
    product.reserve(connections)?;
    operator.inside(|| (0..connections).map(|_| product.open()).collect())?
}

impl Pair {
    /// Sends a byte through, and ends the connection.
    pub(super) fn carries(mut self) -> Result<()> {
        self.far.set_read_timeout(Some(PATIENCE))?;
        self.near.write_all(&[1])?;
        Ok(self.far.read_exact(&mut [0])?)
    }
}

/// A product that shows a port, behind which a listener of the device is reached.
pub(super) struct Forwarded {
    pub(super) name: &'static str,
    /// Where the operator connects to.
    pub(super) port: SocketAddr,
    /// What it leads to.
    pub(super) service: TcpListener,
    pub(super) programs: Box<dyn Programs>,
}

/// The running programs of a product, which end when they are dropped.
pub(super) trait Programs: Send {
    /// Their process ids.
    fn ids(&self) -> Vec<u32>;
}

impl Product for Forwarded {
    fn name(&self) -> &'static str {
        self.name
    }

    fn processes(&self) -> Vec<u32> {
        self.programs.ids()
    }

    fn open(&mut self) -> Result<Pair> {
        let near = TcpStream::connect_timeout(&self.port, PATIENCE)
            .with_context(|| format!("{} does not take connections", self.name))?;
        let (far, _) = self.service.accept().context("a connection did not come through")?;
        Ok(Pair { near, far })
    }
}

impl Programs for Process {
    fn ids(&self) -> Vec<u32> {
        vec![self.id()]
    }
}

/// Nothing in between.
impl Programs for () {
    fn ids(&self) -> Vec<u32> {
        Vec::new()
    }
}

/// Listens on a port of this machine, for whoever reaches it; nobody is waited for longer than [`PATIENCE`].
pub(super) fn listen(host: &Host) -> Result<TcpListener> {
    let service = host.inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    SockRef::from(&service).set_read_timeout(Some(PATIENCE))?;
    Ok(service)
}
