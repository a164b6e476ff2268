//! What can be asked about, and the key it is looked up by.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ring::digest::{SHA256, digest};

/// What can be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A whole file, and its size in bytes where that is known.
    File(Digest, Option<u64>),
    /// One section of a PE file, and its size: another key space than files.
    Section(Digest, Option<u64>),
    /// The SHA-256 of one host-suffix and path-prefix expression of a URL (see [`crate::url`]).
    Url([u8; 32]),
    /// The SHA-256 of a canonical domain name: lower case, punycode, without dots at its ends.
    Domain([u8; 32]),
    /// An address, or every address under a prefix.
    Network(Network),
    /// The hash of a certificate's DER bytes: SHA-256 or SHA-1.
    Certificate(Digest),
}

/// A hash; which one its length says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// SHA-256.
    Sha256([u8; 32]),
    /// SHA-1.
    Sha1([u8; 20]),
    /// MD5.
    Md5([u8; 16]),
}

/// Addresses with the same first bits; an IPv4 address is its IPv4-mapped IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    address: Ipv6Addr,
    prefix: u8,
}

/// What a subject is looked up by, at most 24 bytes: two subjects with one key are the same subject.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Which key space.
    pub kind: Kind,
    /// The first 16 bytes of the hash, or the address.
    pub bytes: [u8; 16],
    /// The size of a file, the prefix length of a network (128 is an address), [`Key::NO_EXTENT`] where neither is known;
    /// 48 bits.
    pub extent: u64,
}

/// A key space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// SHA-256 of a file.
    FileSha256 = 1,
    /// SHA-1 of a file.
    FileSha1 = 2,
    /// MD5 of a file.
    FileMd5 = 3,
    /// SHA-256 of a PE section.
    SectionSha256 = 4,
    /// SHA-1 of a PE section.
    SectionSha1 = 5,
    /// MD5 of a PE section.
    SectionMd5 = 6,
    /// SHA-256 of an expression of a URL.
    Url = 7,
    /// SHA-256 of a domain name.
    Domain = 8,
    /// Addresses.
    Network = 9,
    /// SHA-256 of a certificate.
    CertificateSha256 = 10,
    /// SHA-1 of a certificate.
    CertificateSha1 = 11,
    /// MD5 of a certificate: some lists still have them.
    CertificateMd5 = 12,
}

/// Text that is no hash in hexadecimal digits of a length that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 (SHA-256), 40 (SHA-1) or 32 (MD5) hexadecimal digits")]
pub struct NoDigest;

/// A prefix longer than its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("prefix length {0} exceeds the limit of {1}")]
pub struct PrefixTooLong(pub u8, pub u8);

impl Subject {
    /// The subject of a URL's canonical expression, such as `example.org/a/`.
    pub fn url(expression: &str) -> Self {
        Self::Url(sha256(expression.as_bytes()))
    }

    /// The subject of a canonical domain name.
    pub fn domain(name: &str) -> Self {
        Self::Domain(sha256(name.as_bytes()))
    }

    /// What it is looked up by.
    pub fn key(&self) -> Key {
        match *self {
            Self::File(digest, size) => digest.key([Kind::FileSha256, Kind::FileSha1, Kind::FileMd5], size),
            Self::Section(digest, size) => {
                digest.key([Kind::SectionSha256, Kind::SectionSha1, Kind::SectionMd5], size)
            }
            Self::Url(hash) => Digest::Sha256(hash).key([Kind::Url; 3], None),
            Self::Domain(hash) => Digest::Sha256(hash).key([Kind::Domain; 3], None),
            Self::Network(Network { address, prefix }) => {
                Key { kind: Kind::Network, bytes: address.octets(), extent: prefix.into() }
            }
            Self::Certificate(digest) => {
                let kinds = [Kind::CertificateSha256, Kind::CertificateSha1, Kind::CertificateMd5];
                digest.key(kinds, None)
            }
        }
    }
}

impl Digest {
    /// Reads hexadecimal digits of either case.
    ///
    /// # Errors
    /// [`NoDigest`] when there are others, or not as many as any hash has.
    pub fn parse(hex: &[u8]) -> Result<Self, NoDigest> {
        let mut bytes = [0; 32];
        let length = hex.len() / 2;
        let Some(room) = bytes.get_mut(..length).filter(|_| matches!(hex.len(), 64 | 40 | 32)) else {
            return Err(NoDigest);
        };
        HEXLOWER_PERMISSIVE.decode_mut(hex, room).map_err(|_| NoDigest)?;
        let (half, most) = (bytes.first_chunk(), bytes.first_chunk());
        match length {
            32 => Ok(Self::Sha256(bytes)),
            20 => most.copied().map(Self::Sha1).ok_or(NoDigest),
            _ => half.copied().map(Self::Md5).ok_or(NoDigest),
        }
    }

    /// All its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes,
            Self::Sha1(bytes) => bytes,
            Self::Md5(bytes) => bytes,
        }
    }

    /// `kinds` are those of SHA-256, SHA-1 and MD5. A size that 48 bits do not hold is no size.
    fn key(&self, [sha256, sha1, md5]: [Kind; 3], size: Option<u64>) -> Key {
        let kind = match self {
            Self::Sha256(_) => sha256,
            Self::Sha1(_) => sha1,
            Self::Md5(_) => md5,
        };
        let bytes = *self.as_bytes().first_chunk().expect("every hash has 16 bytes");
        Key { kind, bytes, extent: size.map_or(Key::NO_EXTENT, |size| size.min(Key::NO_EXTENT)) }
    }
}

impl Network {
    /// One address.
    pub fn address(address: IpAddr) -> Self {
        Self { address: mapped(address), prefix: 128 }
    }

    /// The addresses whose first `prefix` bits are those of `address`; its other bits are cleared.
    ///
    /// # Errors
    /// [`PrefixTooLong`] when an address of this family has fewer bits.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, PrefixTooLong> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if prefix > bits {
            return Err(PrefixTooLong(prefix, bits));
        }
        let prefix = prefix + (128 - bits);
        Ok(Self { address: Ipv6Addr::from_bits(mapped(address).to_bits() & mask(prefix)), prefix })
    }

    /// The lowest address and the highest.
    pub fn range(&self) -> (u128, u128) {
        let first = self.address.to_bits() & mask(self.prefix);
        (first, first | !mask(self.prefix))
    }

    /// How many of an IPv6 address's bits are the same; 96 more than IPv4 notation says.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }
}

impl Key {
    /// The extent of what has none, or whose size is not known.
    pub const NO_EXTENT: u64 = 0xffff_ffff_ffff;

    /// The same subject whatever its size.
    #[must_use]
    pub const fn without_extent(self) -> Self {
        Self { extent: Self::NO_EXTENT, ..self }
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::FileSha256,
        Self::FileSha1,
        Self::FileMd5,
        Self::SectionSha256,
        Self::SectionSha1,
        Self::SectionMd5,
        Self::Url,
        Self::Domain,
        Self::Network,
        Self::CertificateSha256,
        Self::CertificateSha1,
        Self::CertificateMd5,
    ];

    /// What the key space is of, in a word.
    pub const fn subject(self) -> &'static str {
        match self {
            Self::FileSha256 | Self::FileSha1 | Self::FileMd5 => "file",
            Self::SectionSha256 | Self::SectionSha1 | Self::SectionMd5 => "section",
            Self::Url => "url",
            Self::Domain => "domain",
            Self::Network => "network",
            Self::CertificateSha256 | Self::CertificateSha1 | Self::CertificateMd5 => "certificate",
        }
    }

    /// The hash that its keys are of, where it is one of a file, section or certificate.
    const fn hash(self) -> Option<&'static str> {
        match self {
            Self::FileSha256 | Self::SectionSha256 | Self::CertificateSha256 => Some("SHA-256"),
            Self::FileSha1 | Self::SectionSha1 | Self::CertificateSha1 => Some("SHA-1"),
            Self::FileMd5 | Self::SectionMd5 | Self::CertificateMd5 => Some("MD5"),
            Self::Url | Self::Domain | Self::Network => None,
        }
    }

    /// The kind with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

impl fmt::Display for Kind {
    /// As it is counted: `file by MD5`, `domain`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.subject())?;
        self.hash().map_or(Ok(()), |hash| write!(f, " by {hash}"))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(self.as_bytes()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}", self.kind, HEXLOWER.encode(&self.bytes))?;
        if self.extent == Self::NO_EXTENT { Ok(()) } else { write!(f, "/{}", self.extent) }
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

const fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_hash_says_which_it_is() {
        let parsed = |digits: usize| Digest::parse("aB".repeat(digits / 2).as_bytes());
        assert_eq!(parsed(64), Ok(Digest::Sha256([0xab; 32])));
        assert_eq!(parsed(40), Ok(Digest::Sha1([0xab; 20])));
        assert_eq!(parsed(32), Ok(Digest::Md5([0xab; 16])));
        for digits in [0, 2, 30, 34, 62, 66, 128] {
            assert_eq!(parsed(digits), Err(NoDigest), "{digits}");
        }
        assert_eq!(Digest::parse(&[b'g'; 32]), Err(NoDigest));
        assert_eq!(Digest::parse(&[b'a'; 33]), Err(NoDigest));
    }

    #[test]
    fn kinds_keep_their_numbers() {
        for (number, kind) in (1..).zip(Kind::ALL) {
            assert_eq!(kind as u8, number);
            assert_eq!(Kind::from_number(number), Some(kind));
        }
        assert_eq!(Kind::from_number(0), None);
        assert_eq!(Kind::from_number(13), None);
    }

    #[test]
    fn subjects_of_different_kinds_have_different_keys() {
        let hash = Digest::Sha256([7; 32]);
        let keys = [
            Subject::File(hash, None).key(),
            Subject::File(hash, Some(5)).key(),
            Subject::Section(hash, None).key(),
            Subject::Url([7; 32]).key(),
            Subject::Domain([7; 32]).key(),
            Subject::Certificate(hash).key(),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key), "{key:?}");
        }
    }

    #[test]
    fn a_network_is_all_addresses_with_its_prefix() {
        let network = |text: &str, prefix| Network::new(text.parse().unwrap(), prefix).unwrap();
        let (first, last) = network("10.1.2.3", 8).range();
        assert_eq!(Ipv6Addr::from_bits(first), "::ffff:10.0.0.0".parse::<Ipv6Addr>().unwrap());
        assert_eq!(Ipv6Addr::from_bits(last), "::ffff:10.255.255.255".parse::<Ipv6Addr>().unwrap());
        assert_eq!(network("::", 0).range(), (0, u128::MAX));
        assert_eq!(network("10.1.2.3", 32), Network::address("10.1.2.3".parse().unwrap()));
        assert_eq!(Network::new("10.0.0.0".parse().unwrap(), 33), Err(PrefixTooLong(33, 32)));
        assert_eq!(Network::new("::".parse().unwrap(), 129), Err(PrefixTooLong(129, 128)));
    }

    #[test]
    fn a_size_beyond_48_bits_is_no_size() {
        assert_eq!(Subject::File(Digest::Md5([0; 16]), Some(u64::MAX)).key().extent, Key::NO_EXTENT);
    }
}
