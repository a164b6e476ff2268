//! Every port of the server, bound before anything is served, so that a taken one is told first.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Config;
use crate::directory::Announced;
use crate::handover::message::{Kind, Listener};

/// Every bound port.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) https: TcpListener,
    pub(crate) agents: Vec<TcpListener>,
    /// Of each port one for each lane: the kernel deals connections out among them (socket(7), `SO_REUSEPORT`).
    pub(crate) tunnels: Vec<Vec<TcpListener>>,
    pub(crate) metrics: Option<TcpListener>,
    /// Revocation lists, for third parties.
    pub(crate) crls: Option<TcpListener>,
}

/// The bound ports as one server uses them: when it ends they are still bound, and connections wait in their queues.
#[derive(Debug)]
pub(crate) struct Duplicates {
    pub(crate) https: tokio::net::TcpListener,
    pub(crate) agents: Vec<tokio::net::TcpListener>,
    pub(crate) tunnels: Vec<Vec<TcpListener>>,
    pub(crate) metrics: Option<tokio::net::TcpListener>,
    pub(crate) crls: Option<tokio::net::TcpListener>,
}

/// Ports that the process before this one had bound, by what it was configured to bind.
#[derive(Debug, Default)]
pub(crate) struct Inherited(BTreeMap<Listener, Vec<TcpListener>>);

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
    /// Binds what `config` says, unless it is inherited; what is inherited and not asked for is closed.
    pub(crate) fn bind(config: &Config, lanes: usize, mut inherited: Inherited) -> Result<Self, BindError> {
        let at = |port| SocketAddr::new(config.bind, port);
        let mut one = |kind, address, what, key| match inherited.take(kind, address).pop() {
            Some(listener) => Ok(listener),
            None => bind(address, what, key),
        };
        let agents = config.agent_ports.iter();
        let agents = agents
            .map(|port| one(Kind::Agents, at(*port), "agents", "agent_ports"))
            .collect::<Result<_, _>>()?;
        let https = one(Kind::Https, at(config.https_port), "discovery, enrolment and API", "https_port")?;
        let metrics =
            config.metrics.map(|address| one(Kind::Metrics, address, "metrics", "metrics")).transpose()?;
        let crls = config.crl_http.map(|address| one(Kind::Crls, address, "revocation lists", "crl_http"));
        let crls = crls.transpose()?;
        let tunnels = config.tunnel_ports.iter().map(|port| match inherited.take(Kind::Tunnels, at(*port)) {
            none if none.is_empty() => bind_shared(at(*port), lanes),
            shared => Ok(shared),
        });
        let tunnels = tunnels.collect::<Result<_, _>>()?;
        Ok(Self { https, agents, tunnels, metrics, crls })
    }

    /// For one server to use.
    pub(crate) fn duplicate(&self) -> io::Result<Duplicates> {
        let again = |listener: &TcpListener| tokio::net::TcpListener::from_std(listener.try_clone()?);
        let tunnels = self.tunnels.iter().map(|shared| shared.iter().map(TcpListener::try_clone).collect());
        Ok(Duplicates {
            https: again(&self.https)?,
            agents: self.agents.iter().map(again).collect::<io::Result<_>>()?,
            tunnels: tunnels.collect::<io::Result<_>>()?,
            metrics: self.metrics.as_ref().map(again).transpose()?,
            crls: self.crls.as_ref().map(again).transpose()?,
        })
    }

    /// Every bound port with what it was configured as, for the process after this one.
    pub(crate) fn named(&self, config: &Config) -> Vec<(Listener, &TcpListener)> {
        let at = |kind, port: &u16| Listener { kind, address: SocketAddr::new(config.bind, *port) };
        let https = [(at(Kind::Https, &config.https_port), &self.https)].into_iter();
        let agents = config.agent_ports.iter().map(|port| at(Kind::Agents, port)).zip(&self.agents);
        let tunnels = config.tunnel_ports.iter().map(|port| at(Kind::Tunnels, port)).zip(&self.tunnels);
        let tunnels = tunnels.flat_map(|(name, shared)| shared.iter().map(move |listener| (name, listener)));
        let metrics = config.metrics.map(|address| Listener { kind: Kind::Metrics, address });
        let crls = config.crl_http.map(|address| Listener { kind: Kind::Crls, address });
        let metrics = metrics.into_iter().zip(&self.metrics).chain(crls.into_iter().zip(&self.crls));
        https.chain(agents).chain(tunnels).chain(metrics).collect()
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

impl Inherited {
    /// Adds a listener; one of a shared port goes behind those that are there.
    pub(crate) fn add(&mut self, name: Listener, listener: TcpListener) {
        self.0.entry(name).or_default().push(listener);
    }

    fn take(&mut self, kind: Kind, address: SocketAddr) -> Vec<TcpListener> {
        self.0.remove(&Listener { kind, address }).unwrap_or_default()
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
