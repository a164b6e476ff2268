//! The hardware address of a network card.

use std::fmt;
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

#[cfg(test)]
mod tests {
    use super::*;

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
