//! A host: a name in lower case, or an address in its shortest form.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::UrlError;
use super::escape::escaped;

/// A host in the one form that is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name, in lower case and ASCII: other scripts are in Punycode.
    Name(String),
    /// An address; IPv6 ones that mean an IPv4 address are that.
    Address(IpAddr),
}

impl Host {
    /// Takes a host as written in an address or a list: any case, stray dots, octal and hexadecimal IPv4, brackets.
    ///
    /// # Errors
    /// [`UrlError::NoHost`] when nothing is left, [`UrlError::Host`] when it is longer than [`HOST_MOST`] or has a colon:
    /// what is neither a port nor an address in brackets would read otherwise the second time.
    pub fn parse(written: &[u8]) -> Result<Self, UrlError> {
        if let Some(inner) = written.strip_prefix(b"[") {
            let inner = inner.strip_suffix(b"]").ok_or(UrlError::Host)?;
            return bracketed(inner).map(Self::Address).ok_or(UrlError::Host);
        }
        let name = collapse_dots(&lower_ascii(written));
        if name.is_empty() {
            return Err(UrlError::NoHost);
        }
        if let Some(address) = ipv4(&name) {
            return Ok(Self::Address(address.into()));
        }
        let name = escaped(&name);
        if name.len() > HOST_MOST || name.contains(':') { Err(UrlError::Host) } else { Ok(Self::Name(name)) }
    }

    /// This host and what it is part of, the nearest first; an address is part of nothing.
    pub fn suffixes<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut rest = Some(text);
        let is_name = matches!(self, Self::Name(_));
        std::iter::from_fn(move || {
            let here = rest?;
            rest = if is_name { here.split_once('.').map(|(_, parent)| parent) } else { None };
            Some(here)
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// What is left of an authority without user and port.
pub(super) fn of_authority(authority: &[u8]) -> &[u8] {
    let host = memchr::memrchr(b'@', authority).map_or(authority, |at| &authority[at + 1..]);
    match memchr::memrchr(b':', host) {
        Some(colon) if host[colon + 1..].iter().all(u8::is_ascii_digit) => &host[..colon],
        _ => host,
    }
}

/// An IPv4 address that an IPv6 one stands for (RFC 4291 2.5.5.2, RFC 6052 2.1), else the address itself.
pub(crate) fn plain(address: Ipv6Addr) -> IpAddr {
    let octets = address.octets();
    let mapped = octets[..10] == [0; 10] && octets[10..12] == [0xff, 0xff];
    if mapped || octets[..12] == NAT64 {
        return Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]).into();
    }
    address.into()
}

fn bracketed(inner: &[u8]) -> Option<IpAddr> {
    let address: Ipv6Addr = std::str::from_utf8(inner).ok()?.parse().ok()?;
    Some(plain(address))
}

fn collapse_dots(written: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(written.len());
    for label in written.split(|byte| *byte == b'.').filter(|label| !label.is_empty()) {
        if !name.is_empty() {
            name.push(b'.');
        }
        name.extend_from_slice(label);
    }
    name
}

/// In lower case, other scripts in Punycode. That comes first: there are full stops and digits in other scripts. What has no
/// Punycode, and characters that would be a slash in it, stay the bytes they are.
fn lower_ascii(name: &[u8]) -> Vec<u8> {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    match idna::domain_to_ascii_cow(name, idna::AsciiDenyList::URL) {
        Ok(ascii) => ascii.into_owned().into_bytes(),
        Err(_) => name.to_ascii_lowercase(),
    }
}

/// As `inet_aton` takes them: one to four numbers, each decimal, octal or hexadecimal, the last one filling the rest.
fn ipv4(name: &[u8]) -> Option<Ipv4Addr> {
    let text = std::str::from_utf8(name).ok()?;
    let mut numbers = [0_u32; 4];
    let mut count = 0;
    for part in text.split('.') {
        *numbers.get_mut(count)? = number(part)?;
        count += 1;
    }
    let (last, leading) = numbers[..count].split_last()?;
    let mut address = 0;
    for (place, octet) in leading.iter().enumerate() {
        address |= u32::from(u8::try_from(*octet).ok()?) << (24 - 8 * place);
    }
    let room = 32 - 8 * leading.len();
    (u64::from(*last) < 1 << room).then(|| Ipv4Addr::from(address | last))
}

fn number(part: &str) -> Option<u32> {
    let hexadecimal = part.strip_prefix("0x").or_else(|| part.strip_prefix("0X"));
    let (digits, radix) = match (hexadecimal, part.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (part, 10),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric()); // `from_str_radix` takes a sign
    plain.then(|| u32::from_str_radix(digits, radix).ok())?
}

/// A name has at most 253 characters (RFC 1035 2.3.4); one whose characters had to be escaped may be three times as long.
pub const HOST_MOST: usize = 759;

const NAT64: [u8; 12] = [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];
