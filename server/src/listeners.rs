//! Every port of the server, bound before anything is served, so that a taken one is told first.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Config;
use crate::directory::Announced;

/// Every bound port.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) https: TcpListener,
    pub(crate) agents: Vec<TcpListener>,
    /// Of each port one for each lane: the kernel deals connections out among them (socket(7), `SO_REUSEPORT`).
    pub(crate) tunnels: Vec<Vec<TcpListener>>,
    pub(crate) metrics: Option<TcpListener>,
}

/// A port that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on port {port} for {what}: {error}; change {key} in the configuration{hint}")]
pub struct BindError {
    /// The port.
    pub port: u16,
    /// What would be served there.
    pub what: &'static str,
    /// What the system said.
    pub error: io::Error,
    /// What to change.
    pub key: &'static str,
    /// Who has the port, or what else may help.
    hint: String,
}

impl Listeners {
    /// Binds what `config` says.
    pub(crate) fn bind(config: &Config, lanes: usize) -> Result<Self, BindError> {
        let at = |port| SocketAddr::new(config.bind, port);
        let agents = config.agent_ports.iter().map(|port| bind(at(*port), "agents", "agent_ports"));
        let tunnels = config.tunnel_ports.iter().map(|port| bind_shared(at(*port), lanes));
        Ok(Self {
            https: bind(at(config.https_port), "discovery, enrolment and API", "https_port")?,
            agents: agents.collect::<Result<_, _>>()?,
            tunnels: tunnels.collect::<Result<_, _>>()?,
            metrics: config.metrics.map(|address| bind(address, "metrics", "metrics")).transpose()?,
        })
    }

    /// What agents and operators are told.
    pub(crate) fn announced(&self, config: &Config) -> Announced {
        let port = |listener: &TcpListener| listener.local_addr().map_or(0, |address| address.port());
        Announced {
            hosts: config.hosts.clone(),
            https_port: port(&self.https),
            agent_ports: self.agents.iter().map(port).collect(),
            tunnel_ports: self.tunnels.iter().filter_map(|shared| shared.first()).map(port).collect(),
            reconnect_window: config.reconnect_window,
        }
    }
}

fn bind(address: SocketAddr, what: &'static str, key: &'static str) -> Result<TcpListener, BindError> {
    bound(address).and_then(listening).map_err(|error| bind_error(error, address.port(), what, key))
}

/// Several listeners on one port. The first is bound alone, so that a port somebody else has is still an error, and
/// only then shared.
fn bind_shared(address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, BindError> {
    let shared = || {
        let first = bound(address)?;
        first.set_reuse_port(true)?;
        let first = listening(first)?;
        let address = first.local_addr()?;
        let more = (1..count).map(|_| {
            let socket = unbound(address)?;
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            listening(socket)
        });
        std::iter::once(Ok(first)).chain(more).collect::<io::Result<_>>()
    };
    shared().map_err(|error| bind_error(error, address.port(), "tunnels", "tunnel_ports"))
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = unbound(address)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A socket that also takes IPv4 when it is bound to every IPv6 address.
fn unbound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn listening(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_error(error: io::Error, port: u16, what: &'static str, key: &'static str) -> BindError {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => crate::ports::owner(port)
            .map_or("; another process has it".into(), |owner| format!("; {owner} has it")),
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE, 8443 needs nothing".into()
        }
        _ => String::new(),
    };
    BindError { port, what, error, key, hint }
}

/// Connections the kernel keeps for us; a whole fleet may come back at once.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_port_is_nobody_elses() {
        let loopback = "127.0.0.1:0".parse().unwrap();
        let shared = bind_shared(loopback, 3).unwrap();
        let address = shared[0].local_addr().unwrap();
        assert!(shared.len() == 3 && shared.iter().all(|one| one.local_addr().unwrap() == address));
        let taken = bind_shared(address, 3).unwrap_err();
        assert_eq!(taken.error.kind(), io::ErrorKind::AddrInUse);
        let taken = taken.to_string();
        assert!(taken.contains(&address.port().to_string()) && taken.contains("tunnel_ports"), "{taken}");
        drop(shared);
        bind_shared(address, 3).unwrap();
    }
}
