//! The kernel's word on one TCP socket, by its addresses: sock_diag(7).
//!
//! The table in /proc lists every socket of the machine. With a few thousand of them reading it takes longer than a
//! connection through a tunnel does; this asks about one.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// The user of the socket bound to `client` and connected to `local`; `None` when the kernel names none that is held.
///
/// # Errors
/// What the system says: it may not take such questions at all.
pub(super) fn owner(client: SocketAddr, local: SocketAddr) -> io::Result<Option<u32>> {
    let mut kernel =
        Socket::new(Domain::from(libc::AF_NETLINK), Type::DGRAM, Some(Protocol::from(SOCK_DIAG)))?;
    kernel.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    kernel.write_all(&question(client, local))?;
    let mut answer = [0; 512];
    let length = kernel.read(&mut answer)?;
    Ok(answer.get(..length).and_then(|answer| user_in(answer, client, local)))
}

/// `nlmsghdr` and `inet_diag_req_v2` of linux/netlink.h and linux/inet_diag.h.
fn question(client: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 8 + ID);
    let length = u32::try_from(HEADER + 8 + ID).expect("72");
    bytes.extend(length.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST.to_ne_bytes());
    bytes.extend([0; 8]); // sequence and port: there is one question, and the kernel answers who asks
    let family = if client.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    bytes.extend([u8::try_from(family).expect("a small number"), TCP, 0, 0]);
    bytes.extend(ANY_STATE.to_ne_bytes());
    bytes.extend(client.port().to_be_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(address(client.ip()));
    bytes.extend(address(local.ip()));
    bytes.extend([0; 4]); // any interface
    bytes.extend([0xff; 8]); // no cookie
    bytes
}

fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The user in an `inet_diag_msg`, if it is about the socket from `client` to `local` and that is still somebody's.
fn user_in(answer: &[u8], client: SocketAddr, local: SocketAddr) -> Option<u32> {
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    let message = answer.get(HEADER..).filter(|_| kind == BY_FAMILY)?;
    let family = i32::from(*message.first()?);
    let port = |at: usize| Some(u16::from_be_bytes(*message.get(at..)?.first_chunk()?));
    let ip = |at: usize| read_address(family, message.get(at..)?.first_chunk()?);
    // The kernel falls back to a socket that listens where the client was.
    let from = (ip(8)?, port(4)?) == (client.ip().to_canonical(), client.port());
    let to = (ip(24)?, port(6)?) == (local.ip().to_canonical(), local.port());
    let number = |at: usize| Some(u32::from_ne_bytes(*message.get(at..)?.first_chunk()?));
    let (user, inode) = (number(4 + ID + 12)?, number(4 + ID + 16)?);
    // A socket whose process has closed it has no inode, and counts as root's: no answer is better than that one.
    (from && to && inode != 0).then_some(user)
}

fn read_address(family: i32, bytes: &[u8; 16]) -> Option<IpAddr> {
    match family {
        libc::AF_INET => Some(IpAddr::from(*bytes.first_chunk::<4>()?)),
        libc::AF_INET6 => Some(IpAddr::from(Ipv6Addr::from(*bytes)).to_canonical()),
        _ => None,
    }
}

/// NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, IPPROTO_TCP.
const SOCK_DIAG: i32 = 4;
const BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
const TCP: u8 = 6;
const ANY_STATE: u32 = u32::MAX;
/// Bytes of `nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `inet_diag_sockid`.
const ID: usize = 48;
/// The kernel answers while it is asked: this is for one that does not.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_socket_has_its_user_until_it_is_closed() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, peer) = listener.accept().unwrap();
            let local = accepted.local_addr().unwrap();
            assert_eq!(owner(peer, local).unwrap(), Some(rustix::process::geteuid().as_raw()));
            drop(client);
            assert_eq!(owner(peer, local).unwrap(), None, "{address}: it has closed");
        }
    }

    #[test]
    fn a_listener_in_the_clients_place_is_not_taken_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listening = listener.local_addr().unwrap();
        assert_eq!(owner(listening, "127.0.0.1:9".parse().unwrap()).unwrap(), None);
    }

    #[test]
    fn an_answer_of_any_length_is_read_without_panic() {
        let (client, local) = ("127.0.0.1:46052".parse().unwrap(), "127.0.0.1:8080".parse().unwrap());
        let mut answer = question(client, local);
        assert_eq!(user_in(&answer, client, local), None, "too short for one");
        // An answer has four bytes less in front of the id, and twenty more behind it.
        answer.drain(HEADER + 4..HEADER + 8);
        answer.extend([0; 12]);
        answer.extend(1000_u32.to_ne_bytes());
        answer.extend(34_111_u32.to_ne_bytes());
        assert_eq!(user_in(&answer, client, local), Some(1000));
        assert_eq!(user_in(&answer, local, client), None, "that is the other end's socket");
        for len in 0..answer.len() {
            assert_eq!(user_in(&answer[..len], client, local), None);
        }
    }
}
