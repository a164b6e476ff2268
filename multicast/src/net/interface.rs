//! Network interfaces: where a session can be.

use std::io;
use std::net::IpAddr;
#[cfg(target_os = "linux")]
use std::net::SocketAddr;

#[cfg(target_os = "linux")]
use socket2::{Domain, Protocol, Socket, Type};

/// An interface, and its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Such as `eth0`.
    pub name: String,
    /// The system's number for it.
    pub index: u32,
    /// Its address of the family that was asked for.
    pub address: IpAddr,
    /// Bytes of its longest packet.
    pub mtu: u16,
}

/// The interfaces that have an address of the same family as `group`: all but loopback, or those that are named.
///
/// # Errors
/// What the system says, or that a named one is not there.
pub fn interfaces(group: IpAddr, names: &[String]) -> io::Result<Vec<Interface>> {
    let mut found: Vec<Interface> = Vec::new();
    let mut addresses = if_addrs::get_if_addrs()?;
    // An address that is good for more than the link comes before one that is not.
    addresses.sort_by_key(if_addrs::Interface::is_link_local);
    for one in addresses {
        let address = one.ip();
        let wanted = if names.is_empty() { !one.is_loopback() } else { names.contains(&one.name) };
        let is_known = found.iter().any(|interface| interface.name == one.name);
        if wanted && !is_known && address.is_ipv4() == group.is_ipv4() {
            let index = one.index.unwrap_or(0);
            let mtu = mtu(group, address, index).unwrap_or(ETHERNET);
            found.push(Interface { index, name: one.name, address, mtu });
        }
    }
    if let Some(missing) = names.iter().find(|name| !found.iter().any(|interface| interface.name == **name)) {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("no interface {missing} with such an address"),
        ));
    }
    Ok(found)
}

/// What packets to the group may have by this interface: asked of a socket, since the files of /sys may be those of another
/// network namespace. Nothing is sent.
#[cfg(target_os = "linux")]
fn mtu(group: IpAddr, address: IpAddr, index: u32) -> io::Result<u16> {
    use rustix::net::sockopt::{ip_mtu, ipv6_mtu};
    let socket =
        Socket::new(Domain::for_address(SocketAddr::new(group, 0)), Type::DGRAM, Some(Protocol::UDP))?;
    match address {
        IpAddr::V4(address) => socket.set_multicast_if_v4(&address)?,
        IpAddr::V6(_) => socket.set_multicast_if_v6(index)?,
    }
    socket.connect(&SocketAddr::new(group, DISCARD).into())?;
    let mtu = if group.is_ipv4() { ip_mtu(&socket)? } else { ipv6_mtu(&socket)? };
    Ok(u16::try_from(mtu).unwrap_or(u16::MAX))
}

#[cfg(not(target_os = "linux"))]
fn mtu(_: IpAddr, _: IpAddr, _: u32) -> io::Result<u16> {
    Ok(ETHERNET)
}

/// What an Ethernet takes, where the system does not say.
const ETHERNET: u16 = 1500;
/// Any port will do; this one would throw packets away.
#[cfg(target_os = "linux")]
const DISCARD: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn loopback_takes_more_than_an_ethernet() {
        let found = interfaces("239.194.0.1".parse().unwrap(), &["lo".to_owned()]).unwrap();
        assert!(found.len() == 1 && found[0].mtu > ETHERNET, "{found:?}");
        assert!(interfaces("239.194.0.1".parse().unwrap(), &["none".to_owned()]).is_err());
    }
}
