//! The messages of SOCKS version 5 (RFC 1928, sections 3, 4 and 6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use super::{Destination, NO_AUTHENTICATION, VERSION};
use crate::grant::Host;

/// What the beginning of a stream holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<T> {
    /// At least so many bytes more.
    Needs(usize),
    /// Something that is not this protocol.
    Foreign,
    /// One message, and nothing else.
    Whole(T),
}

/// `VER NMETHODS METHODS`
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// Whether the client does without authentication.
    pub(super) offers_none: bool,
}

/// `VER CMD RSV ATYP DST.ADDR DST.PORT`
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Connect(Destination),
    /// Understood, and answered with a refusal.
    Refused(Reply),
}

/// What came of a request. The numbers are RFC 1928's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reply {
    /// Connected: bytes follow both ways.
    Succeeded = 0,
    /// General SOCKS server failure.
    Failure = 1,
    /// Connection not allowed by ruleset.
    NotAllowed = 2,
    /// Network unreachable.
    NetworkUnreachable = 3,
    /// Host unreachable.
    HostUnreachable = 4,
    /// Connection refused.
    Refused = 5,
    /// TTL expired.
    Expired = 6,
    /// Command not supported.
    Command = 7,
    /// Address type not supported.
    AddressType = 8,
}

impl Greeting {
    /// Bytes that say how long it is.
    pub(super) const HEAD: usize = 2;

    pub(super) fn parse(input: &[u8]) -> Parsed<Self> {
        match input {
            [version, ..] if *version != VERSION => Parsed::Foreign,
            [_, count, methods @ ..] => match usize::from(*count).checked_sub(methods.len()) {
                Some(0) => Parsed::Whole(Self { offers_none: methods.contains(&NO_AUTHENTICATION) }),
                Some(missing) => Parsed::Needs(missing),
                None => Parsed::Foreign,
            },
            short => Parsed::Needs(Self::HEAD - short.len()),
        }
    }
}

impl Request {
    /// Bytes that say how long it is: up to the length of a name.
    pub(super) const HEAD: usize = 5;

    pub(super) fn parse(input: &[u8]) -> Parsed<Self> {
        let [version, command, reserved, kind, length, ..] = input else {
            return Parsed::Needs(Self::HEAD.saturating_sub(input.len()));
        };
        if *version != VERSION || *reserved != 0 {
            return Parsed::Foreign;
        }
        let whole = match *kind {
            V4 => 4 + 4 + 2,
            V6 => 4 + 16 + 2,
            NAME => 4 + 1 + usize::from(*length) + 2,
            // Nobody knows where such a request ends.
            _ => return Parsed::Whole(Self::Refused(Reply::AddressType)),
        };
        if let Some(missing @ 1..) = whole.checked_sub(input.len()) {
            return Parsed::Needs(missing);
        }
        if *command != CONNECT {
            return Parsed::Whole(Self::Refused(Reply::Command));
        }
        let Some((port, address)) = input[4..].split_last_chunk::<2>().map(|(address, port)| (port, address))
        else {
            return Parsed::Foreign;
        };
        Parsed::Whole(match (host(*kind, address), NonZeroU16::new(u16::from_be_bytes(*port))) {
            (Some(host), Some(port)) => Self::Connect(Destination { host, port }),
            (None, _) => Self::Refused(Reply::HostUnreachable),
            (_, None) => Self::Refused(Reply::Refused),
        })
    }
}

impl Reply {
    /// The message. The address that the connection is made from is the device's own affair: it is given as unknown.
    pub fn encode(self) -> Vec<u8> {
        let code = self as u8;
        vec![VERSION, code, 0, V4, 0, 0, 0, 0, 0, 0]
    }
}

/// The host that is named, if one can have this name.
fn host(kind: u8, address: &[u8]) -> Option<Host> {
    match kind {
        V4 => Some(Host::Address(IpAddr::from(Ipv4Addr::from(*address.first_chunk::<4>()?)))),
        V6 => Some(Host::Address(IpAddr::from(Ipv6Addr::from(*address.first_chunk::<16>()?)))),
        _ => {
            let name = str::from_utf8(address.get(1..)?).ok()?;
            // The dot of a name that is complete (RFC 1034, section 3.1) says nothing to who resolves it.
            let host = Host::parse(name.strip_suffix('.').unwrap_or(name)).ok()?;
            (host != Host::Device).then_some(host)
        }
    }
}

const CONNECT: u8 = 1;
/// Address types.
const V4: u8 = 1;
const NAME: u8 = 3;
const V6: u8 = 4;
