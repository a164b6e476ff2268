//! What the agent asks of the operating system about the device it runs on.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The device's host name; `unnamed` when the system does not tell.
pub fn host_name() -> String {
    let name = read("/proc/sys/kernel/hostname").or_else(|| std::env::var("HOSTNAME").ok());
    let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| "unnamed".to_owned())
}

/// The operating system's name and version, as `/etc/os-release` has it.
pub fn os() -> String {
    let release = read("/etc/os-release").or_else(|| read("/usr/lib/os-release"));
    release.as_deref().and_then(pretty_name).unwrap_or_else(|| std::env::consts::OS.to_owned())
}

/// Every address of the device, loopback included: none of them is another host to a tunnel.
///
/// Empty where the system does not tell; the rules for loopback and link-local addresses hold all the same.
pub fn own_addresses() -> Vec<IpAddr> {
    let v4 = read("/proc/self/net/fib_trie").map(|text| local_v4(&text)).unwrap_or_default();
    let v6 = read("/proc/self/net/if_inet6").map(|text| local_v6(&text)).unwrap_or_default();
    v4.into_iter().map(IpAddr::from).chain(v6.into_iter().map(IpAddr::from)).collect()
}

/// Whether the device still has this address, asked at the price of one system call: only to its own can a socket be
/// bound (bind(2), EADDRNOTAVAIL). True whenever the system does not tell, such as with `ip_nonlocal_bind`.
pub fn owns(mut address: SocketAddr) -> bool {
    address.set_port(0);
    let bound = UdpSocket::bind(address);
    !bound.is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The value of `PRETTY_NAME` (os-release(5)); quotes around it are not part of it.
fn pretty_name(release: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

/// Addresses of the local table: the line after an address says that it is one host and local.
fn local_v4(trie: &str) -> Vec<Ipv4Addr> {
    let pairs = trie.lines().zip(trie.lines().skip(1));
    let local = pairs.filter(|(_, kind)| kind.trim() == "/32 host LOCAL");
    let address = |(line, _): (&str, &str)| line.trim().strip_prefix("|-- ")?.parse().ok();
    let mut addresses: Vec<_> = local.filter_map(address).collect();
    addresses.sort_unstable();
    addresses.dedup(); // the trie is printed once for each table
    addresses
}

/// Addresses of all interfaces: the first column, 32 hexadecimal digits.
fn local_v6(interfaces: &str) -> Vec<Ipv6Addr> {
    let address = |line: &str| u128::from_str_radix(line.split_whitespace().next()?, 16).ok();
    interfaces.lines().filter_map(address).map(Ipv6Addr::from_bits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_read_from_the_kernels_tables() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     +-- 10.0.0.0/24 2 0 2\n        |-- 10.0.0.0\n           /24 link UNICAST\n        \
            |-- 10.0.0.7\n           /32 host LOCAL\n        |-- 10.0.0.255\n           /32 link BROADCAST\n     \
            |-- 127.0.0.1\n           /32 host LOCAL\n     |-- 10.0.0.7\n           /32 host LOCAL\n";
        assert_eq!(local_v4(trie), [Ipv4Addr::new(10, 0, 0, 7), Ipv4Addr::LOCALHOST]);
        let interfaces = "00000000000000000000000000000001 01 80 10 80       lo\n\
            fd000000000000000000000000000007 02 40 00 80     eth0\nnonsense\n";
        assert_eq!(local_v6(interfaces), [Ipv6Addr::LOCALHOST, "fd00::7".parse::<Ipv6Addr>().unwrap()]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_at_least_its_loopback() {
        assert!(own_addresses().contains(&Ipv4Addr::LOCALHOST.into()), "{:?}", own_addresses());
    }

    #[test]
    fn an_address_is_the_devices_own_or_is_not() {
        assert!(owns(([127, 0, 0, 1], 443).into()));
        assert!(!owns(([192, 0, 2, 1], 443).into()), "an address for documentation (RFC 5737)");
    }

    #[test]
    fn the_systems_name_is_read_without_its_quotes() {
        let release = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(pretty_name(release).as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(pretty_name("ID=x\nPRETTY_NAME=\"\"\n"), None);
    }
}
