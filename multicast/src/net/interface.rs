//! Network interfaces: where a session can be.

use std::io;
use std::net::IpAddr;

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
    for one in if_addrs::get_if_addrs()? {
        let address = one.ip();
        let wanted = if names.is_empty() { !one.is_loopback() } else { names.contains(&one.name) };
        let is_known = found.iter().any(|interface| interface.name == one.name);
        if wanted && !is_known && address.is_ipv4() == group.is_ipv4() {
            let mtu = mtu(&one.name);
            found.push(Interface { index: one.index.unwrap_or(0), name: one.name, address, mtu });
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

/// What an Ethernet takes, where the system does not say.
fn mtu(name: &str) -> u16 {
    let said = std::fs::read_to_string(format!("/sys/class/net/{name}/mtu")).ok();
    let number = said.and_then(|said| said.trim().parse::<u32>().ok());
    number.map_or(1500, |number| u16::try_from(number).unwrap_or(u16::MAX))
}
