//! A range of addresses as people write it: a prefix, a start and an end, a subnet and its mask, or one address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Addresses of one family from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    last: IpAddr,
}

/// Why text is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// No form of a range fits.
    #[error("{0:?} is no range: write 10.1.0.0/16, 10.1.0.0/255.255.0.0, 10.1.0.10-10.1.0.99 or one address")]
    Form(String),
    /// The prefix is longer than an address.
    #[error("{text}: a prefix of {family} has at most {limit} bits")]
    Prefix {
        /// As it was written.
        text: String,
        /// IPv4 or IPv6.
        family: &'static str,
        /// The length of an address.
        limit: u8,
    },
    /// The ones of a mask do not stand together at its front.
    #[error("{0}: the mask is not ones followed by zeros")]
    Mask(String),
    /// The address is not the first of its subnet, so one of the two is a mistake.
    #[error("{text} does not begin a subnet; write {meant} for the whole of it")]
    HostBits {
        /// As it was written.
        text: String,
        /// The subnet around the address.
        meant: Range,
    },
    /// The end is before the start, or of the other family.
    #[error("{0}: the end is not behind the start")]
    Backwards(String),
    /// Hosts have no such addresses.
    #[error("{0} holds addresses that no host has (multicast, unspecified or reserved)")]
    NoHosts(Range),
}

impl Range {
    /// The addresses from `first` to `last`; `None` when that is backwards or of two families.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        let ordered = first.is_ipv4() == last.is_ipv4() && first <= last;
        ordered.then_some(Self { first, last })
    }

    /// The subnet of `bits` around an address; bits beyond the length of an address count as that length.
    pub fn subnet(address: IpAddr, bits: u8) -> Self {
        let length = length(address);
        let hosts = length - bits.min(length);
        let below = 1_u128.checked_shl(hosts.into()).map_or(u128::MAX, |size| size - 1);
        let first = number(address) & !below;
        Self { first: with_number(address, first), last: with_number(address, first | below) }
    }

    /// The first address.
    pub const fn first(&self) -> IpAddr {
        self.first
    }

    /// The last address.
    pub const fn last(&self) -> IpAddr {
        self.last
    }

    /// How many addresses there are; the whole of IPv6 counts as one less.
    pub fn size(&self) -> u128 {
        (number(self.last) - number(self.first)).saturating_add(1)
    }

    /// Whether the address is one of these.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && (self.first..=self.last).contains(&address)
    }

    /// What both ranges have.
    pub fn overlap(&self, other: &Self) -> Option<Self> {
        if self.first.is_ipv4() != other.first.is_ipv4() {
            return None;
        }
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }

    /// What is left without `other`: before it and behind it.
    pub fn without(&self, other: &Self) -> [Option<Self>; 2] {
        let Some(shared) = self.overlap(other) else { return [Some(*self), None] };
        let before = (self.first < shared.first).then(|| with_number(self.first, number(shared.first) - 1));
        let behind = (shared.last < self.last).then(|| with_number(self.last, number(shared.last) + 1));
        [
            before.map(|last| Self { first: self.first, last }),
            behind.map(|first| Self { first, last: self.last }),
        ]
    }

    /// The length of the prefix that is exactly this range.
    fn prefix(&self) -> Option<u8> {
        let hosts = self.size().checked_ilog2().and_then(|bits| u8::try_from(bits).ok())?;
        let bits = length(self.first).checked_sub(hosts)?;
        (Self::subnet(self.first, bits) == *self).then_some(bits)
    }

    fn parse_subnet(text: &str, address: &str, mask: &str) -> Result<Self, RangeError> {
        let form = || RangeError::Form(text.to_owned());
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let bits = match (mask.parse::<u8>(), mask.parse::<Ipv4Addr>(), address) {
            (Ok(bits), _, _) => bits,
            (_, Ok(mask), IpAddr::V4(_)) if mask.to_bits().leading_ones() == mask.to_bits().count_ones() => {
                u8::try_from(mask.to_bits().count_ones()).map_err(|_| form())?
            }
            (_, Ok(_), IpAddr::V4(_)) => return Err(RangeError::Mask(text.to_owned())),
            _ => return Err(form()),
        };
        if bits > length(address) {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            return Err(RangeError::Prefix { text: text.to_owned(), family, limit: length(address) });
        }
        let subnet = Self::subnet(address, bits);
        match subnet.first == address {
            true => Ok(subnet),
            false => Err(RangeError::HostBits { text: text.to_owned(), meant: subnet }),
        }
    }

    /// `10.1.0.10-10.1.0.99`; the end may also be the last number alone, as in `10.1.0.10-99`.
    fn parse_ends(text: &str, first: &str, last: &str) -> Result<Self, RangeError> {
        let form = || RangeError::Form(text.to_owned());
        let first: IpAddr = first.parse().map_err(|_| form())?;
        let last = match (first, last.parse::<u8>()) {
            (IpAddr::V4(first), Ok(number)) => {
                let [a, b, c, _] = first.octets();
                Ipv4Addr::new(a, b, c, number).into()
            }
            _ => last.parse().map_err(|_| form())?,
        };
        Self::new(first, last).ok_or_else(|| RangeError::Backwards(text.to_owned()))
    }

    fn has_hosts(&self) -> bool {
        let none = match self.first {
            IpAddr::V4(_) => V4_WITHOUT_HOSTS.map(|(a, b)| Self { first: a.into(), last: b.into() }).to_vec(),
            IpAddr::V6(_) => V6_WITHOUT_HOSTS.map(|(a, b)| Self { first: a.into(), last: b.into() }).to_vec(),
        };
        none.iter().all(|range| range.overlap(self).is_none())
    }
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let range = if let Some((address, mask)) = text.split_once('/') {
            Self::parse_subnet(text, address, mask)?
        } else if let Some((first, last)) = text.split_once('-') {
            Self::parse_ends(text, first, last)?
        } else {
            let address = text.parse().map_err(|_| RangeError::Form(text.to_owned()))?;
            Self { first: address, last: address }
        };
        if range.has_hosts() { Ok(range) } else { Err(RangeError::NoHosts(range)) }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        match self.prefix() {
            _ if first == last => write!(f, "{first}"),
            Some(bits) => write!(f, "{first}/{bits}"),
            None => write!(f, "{first}-{last}"),
        }
    }
}

/// The address as a number.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of the same family with this number; IPv4 keeps the lower 32 bits.
pub(crate) fn with_number(like: IpAddr, number: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => {
            let low = u32::try_from(number & u128::from(u32::MAX)).expect("32 bits are left");
            Ipv4Addr::from_bits(low).into()
        }
        IpAddr::V6(_) => Ipv6Addr::from_bits(number).into(),
    }
}

const fn length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// "This network", multicast and what is reserved above it (RFC 6890).
const V4_WITHOUT_HOSTS: [(Ipv4Addr, Ipv4Addr); 2] = [
    (Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(0, 255, 255, 255)),
    (Ipv4Addr::new(224, 0, 0, 0), Ipv4Addr::BROADCAST),
];
/// Unspecified and multicast (RFC 4291).
const V6_WITHOUT_HOSTS: [(Ipv6Addr, Ipv6Addr); 2] = [
    (Ipv6Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), Ipv6Addr::from_bits(u128::MAX)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_range_is_read() {
        let said = [
            ("10.1.0.0/16", "10.1.0.0/16", 65_536),
            ("10.1.0.0/255.255.0.0", "10.1.0.0/16", 65_536),
            ("10.1.0.10-10.1.0.99", "10.1.0.10-10.1.0.99", 90),
            ("10.1.0.10-99", "10.1.0.10-10.1.0.99", 90),
            ("10.1.0.0-10.1.0.255", "10.1.0.0/24", 256),
            ("192.0.2.7", "192.0.2.7", 1),
            ("fd00::/120", "fd00::/120", 256),
            ("fd00::1-fd00::9", "fd00::1-fd00::9", 9),
        ];
        for (text, shown, size) in said {
            let range: Range = text.parse().unwrap();
            assert_eq!((range.to_string().as_str(), range.size()), (shown, size), "{text}");
        }
    }

    #[test]
    fn a_mistake_is_refused_with_what_is_wrong() {
        let refused = [
            ("10.1.0.7/16", "10.1.0.7/16 does not begin a subnet; write 10.1.0.0/16 for the whole of it"),
            ("10.1.0.0/33", "10.1.0.0/33: a prefix of IPv4 has at most 32 bits"),
            ("fd00::/129", "fd00::/129: a prefix of IPv6 has at most 128 bits"),
            ("10.1.0.0/255.0.255.0", "10.1.0.0/255.0.255.0: the mask is not ones followed by zeros"),
            ("10.1.0.9-10.1.0.3", "10.1.0.9-10.1.0.3: the end is not behind the start"),
            ("10.1.0.9-fd00::1", "10.1.0.9-fd00::1: the end is not behind the start"),
            (
                "224.0.0.0/8",
                "224.0.0.0/8 holds addresses that no host has (multicast, unspecified or reserved)",
            ),
            ("0.0.0.0/0", "0.0.0.0/0 holds addresses that no host has (multicast, unspecified or reserved)"),
        ];
        for (text, why) in refused {
            assert_eq!(text.parse::<Range>().unwrap_err().to_string(), why);
        }
        for text in ["", "/", "-", "x", "10.1.0/16", "10.1.0.0/", "10.1.0.0/-1", "fd00::/255.0.0.0", "é-1"] {
            assert!(matches!(text.parse::<Range>(), Err(RangeError::Form(_))), "{text}");
        }
    }

    #[test]
    fn what_is_cut_out_leaves_both_sides() {
        let whole: Range = "10.1.0.0/24".parse().unwrap();
        let shown =
            |cut: &str| whole.without(&cut.parse().unwrap()).map(|part| part.map(|part| part.to_string()));
        assert_eq!(shown("10.1.0.8-9"), [Some("10.1.0.0/29".into()), Some("10.1.0.10-10.1.0.255".into())]);
        assert_eq!(shown("10.1.0.0/25"), [None, Some("10.1.0.128/25".into())]);
        assert_eq!(shown("10.0.0.0/8"), [None, None]);
        assert_eq!(shown("10.2.0.0/24"), [Some("10.1.0.0/24".into()), None]);
        assert_eq!(shown("fd00::/16"), [Some("10.1.0.0/24".into()), None]);
    }
}
