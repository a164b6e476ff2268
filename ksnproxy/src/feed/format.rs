//! The formats by name.

use std::fmt;
use std::io::Read;
use std::str::FromStr;

use super::clamav::Signatures;
use super::error::{FeedError, Reason};
use super::intake::Intake;
use super::{cvd, gsb, malwarebazaar, misp, plain, rpz, sslbl, stix, threatfox, urlhaus};

/// A format of published lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// ClamAV signature files and containers; the extension of the file says which.
    ClamAv,
    /// abuse.ch URLhaus, CSV.
    UrlHaus,
    /// abuse.ch MalwareBazaar, CSV.
    MalwareBazaar,
    /// abuse.ch ThreatFox, CSV.
    ThreatFox,
    /// abuse.ch SSLBL, CSV of certificates.
    SslBl,
    /// NSRL RDSv3, SQLite.
    Nsrl,
    /// A MISP warning list, JSON.
    Misp,
    /// A Safe Browsing v5 hash list, protobuf.
    Gsb,
    /// A STIX 2.1 bundle, JSON.
    Stix,
    /// A response policy zone.
    Rpz,
    /// One thing a line that is malicious: names, addresses, networks, URLs, hashes; hosts files, `||name^`.
    Block,
    /// One thing a line that is clean; `rank,name` as well.
    Allow,
}

/// No format has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no format is called {0:?}; there are {names}", names = Format::ALL.map(Format::name).join(", "))]
pub struct UnknownFormat(pub String);

impl Format {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::ClamAv,
        Self::UrlHaus,
        Self::MalwareBazaar,
        Self::ThreatFox,
        Self::SslBl,
        Self::Nsrl,
        Self::Misp,
        Self::Gsb,
        Self::Stix,
        Self::Rpz,
        Self::Block,
        Self::Allow,
    ];

    /// What it is called on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClamAv => "clamav",
            Self::UrlHaus => "urlhaus",
            Self::MalwareBazaar => "malwarebazaar",
            Self::ThreatFox => "threatfox",
            Self::SslBl => "sslbl",
            Self::Nsrl => "nsrl",
            Self::Misp => "misp",
            Self::Gsb => "gsb",
            Self::Stix => "stix",
            Self::Rpz => "rpz",
            Self::Block => "block",
            Self::Allow => "allow",
        }
    }

    /// What an operator must know before using such a list, where its publisher sets terms.
    pub const fn terms(self) -> Option<&'static str> {
        match self {
            Self::Gsb => Some("Safe Browsing lists are for non-commercial use; Web Risk is for the other"),
            Self::UrlHaus | Self::MalwareBazaar | Self::ThreatFox | Self::SslBl => {
                Some("abuse.ch asks for fair use and an Auth-Key; commercial use needs a licence")
            }
            _ => None,
        }
    }

    /// Reads an unpacked list of this format; `packed` is how long it was before.
    pub(super) fn read(
        self,
        name: &str,
        input: impl Read,
        packed: u64,
        intake: &mut Intake,
    ) -> Result<(), FeedError> {
        match self {
            Self::ClamAv => match Signatures::of(name) {
                Some(signatures) => signatures.read(input, intake),
                None if is_container(name) => cvd::read(input, packed, intake),
                None => Err(Reason::Name(name.as_bytes().into()).into()),
            },
            Self::UrlHaus => urlhaus::read(input, intake),
            Self::MalwareBazaar => malwarebazaar::read(input, intake),
            Self::ThreatFox => threatfox::read(input, intake),
            Self::SslBl => sslbl::read(input, intake),
            Self::Nsrl => {
                Err(Reason::Structure("a database is read from its file alone, unpacked".to_owned()).into())
            }
            Self::Misp => misp::read(input, intake),
            Self::Gsb => gsb::read(input, intake),
            Self::Stix => stix::read(input, intake),
            Self::Rpz => rpz::read(input, intake),
            Self::Block => plain::read(input, plain::BLOCKED, intake),
            Self::Allow => plain::read(input, plain::ALLOWED, intake),
        }
    }
}

fn is_container(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    matches!(extension.as_deref(), Some("cvd" | "cld" | "cud"))
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}
