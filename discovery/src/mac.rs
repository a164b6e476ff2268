//! The hardware address of a network card.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An EUI-48 address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// Text is no hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no hardware address such as 52:54:00:12:34:56")]
pub struct NoMac(String);

impl Mac {
    /// Everyone on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it can be a host's: neither nobody's nor a group's.
    pub const fn is_of_a_host(self) -> bool {
        let [first, ..] = self.0;
        first & 1 == 0 && !matches!(self.0, [0, 0, 0, 0, 0, 0])
    }

    /// The card that an address was made of, when it is one that a maker has numbered: those are no two cards'
    /// (RFC 4291, appendix A).
    pub fn in_address(address: IpAddr) -> Option<Self> {
        let IpAddr::V6(address) = address else { return None };
        let [.., first, b, c, 0xff, 0xfe, d, e, f] = address.octets() else { return None };
        let is_universal = first & (UNIVERSAL | GROUP) == UNIVERSAL;
        is_universal.then_some(Self([first ^ UNIVERSAL, b, c, d, e, f])).filter(|mac| mac.is_of_a_host())
    }
}

impl FromStr for Mac {
    type Err = NoMac;

    fn from_str(text: &str) -> Result<Self, NoMac> {
        let no_mac = || NoMac(text.chars().take(32).collect());
        let parts: Vec<_> = text.split([':', '-']).map(|part| u8::from_str_radix(part, 16)).collect();
        let bytes: Vec<u8> = parts.into_iter().collect::<Result<_, _>>().map_err(|_| no_mac())?;
        Ok(Self(bytes.try_into().map_err(|_| no_mac())?))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({self})")
    }
}

/// Of the first byte of an interface identifier: a maker has numbered the card.
const UNIVERSAL: u8 = 0b10;
/// It is a group's.
const GROUP: u8 = 0b01;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_the_card_it_was_made_of() {
        let card = |address: &str| Mac::in_address(address.parse().unwrap()).map(|mac| mac.to_string());
        assert_eq!(card("fd00::21b:21ff:fe12:3456").as_deref(), Some("00:1b:21:12:34:56"));
        for other in ["fd00::21b:21ff:ff12:3456", "fd00::5054:ff:fe12:3456", "fd00::3", "10.1.0.1"] {
            assert_eq!(card(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_shown_is_read_again() {
        let mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert_eq!("52-54-00-12-34-56".parse(), Ok(mac));
        for text in ["", "52:54:00:12:34", "52:54:00:12:34:56:78", "52:54:00:12:34:zz", "é:1:1:1:1:1"] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn groups_and_nobody_are_no_hosts() {
        assert!(!Mac::BROADCAST.is_of_a_host());
        assert!(!Mac([0; 6]).is_of_a_host());
        assert!(!Mac([0x33, 0x33, 0, 0, 0, 1]).is_of_a_host());
        assert!(Mac([2, 0, 0, 0, 0, 1]).is_of_a_host());
    }
}
