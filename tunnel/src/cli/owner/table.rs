//! The kernel's table of all TCP sockets (proc(5), /proc/net/tcp).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The user whose socket is bound to `client` and connected to `local`.
pub(super) fn owner(client: SocketAddr, local: SocketAddr) -> io::Result<Option<u32>> {
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match std::fs::read_to_string(table) {
            Ok(text) => {
                if let Some(user) = text.lines().skip(1).find_map(|line| user_of(line, client, local)) {
                    return Ok(Some(user));
                }
            }
            // A kernel without IPv6 has only the first.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table.ends_with('6') => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The user of a line of the table, if it is the socket from `client` to `local` and still somebody's.
fn user_of(line: &str, client: SocketAddr, local: SocketAddr) -> Option<u32> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (from, to) = (fields.next()?, fields.next()?);
    let user = fields.nth(4)?.parse().ok()?;
    // A socket whose process has closed it has no inode, and counts as root's: no answer is better than that one.
    let held = fields.nth(1)? != "0";
    (held && address(from)? == canonical(client) && address(to)? == canonical(local)).then_some(user)
}

fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// Reads `0100007F:1F90`: each 32 bits of the address as one number of this machine, the port as written.
fn address(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = address.get(at..at + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some((ip.to_canonical(), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn the_line_of_a_socket_names_its_user() {
        let (client, local) = (v4(46_052), v4(8080));
        assert_eq!(user_of(LINE, client, local), Some(1000));
        assert_eq!(user_of(LINE, local, client), None, "that is the other end's socket");
        assert_eq!(user_of(LINE, v4(46_053), local), None);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_mapped_address_is_found_among_the_v6_sockets() {
        assert_eq!(user_of(MAPPED, v4(46_052), v4(8080)), Some(1000));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_socket_nobody_holds_any_more_is_nobodys() {
        let abandoned = LINE.replace(" 1000 ", " 0 ").replace(" 34111 ", " 0 ");
        assert_eq!(user_of(&abandoned, v4(46_052), v4(8080)), None);
    }

    #[test]
    fn lines_of_another_form_are_passed_over() {
        for line in ["", "x", "0: 0100007F 0100007F:1F90 01", "0: é100007F:1F90 0100007F:1F90 01 a b c 0 0 7"]
        {
            assert_eq!(user_of(line, v4(1), v4(2)), None);
        }
    }

    const LINE: &str =
        "   3: 0100007F:B3E4 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 34111 1";
    const MAPPED: &str = "   3: 0000000000000000FFFF00000100007F:B3E4 0000000000000000FFFF00000100007F:1F90 01 \
                          00000000:00000000 00:00000000 00000000  1000        0 34111 1";

    fn v4(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }
}
