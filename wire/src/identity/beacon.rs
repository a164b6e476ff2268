//! Beacons: how agents of one broadcast domain find each other (`PROTOCOL.md`, section 17).
//!
//! A beacon is one datagram that proves itself: who says it by a certificate, what it says by a signature. Nobody answers
//! one, so nothing can be had from an agent by asking it, and no address can be made to get more than it has joined for.
//!
//! Whatever costs nothing is looked at first: length, time, address, fabric and tenant. Of the rest a receiver allows
//! itself so much a second; see [`Beacon::open`] and [`Opened::verify`].

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::chain_error::ChainError;
use super::crl::{Crls, Freshness};
use super::role::{Principal, Role};
use super::tls::Identity;
use super::trust::{Trust, public_key_of};
use crate::id::DeviceId;
use crate::signed::{BadSignature, Context, Signed};
use crate::signing::KeyError;

/// What an agent says of itself on one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// When it was said, Unix seconds: no two beacons of a device have the same.
    pub sent: u64,
    /// The address it was sent from: said elsewhere it is a copy.
    pub address: IpAddr,
    /// In how long the next is due, on the average.
    pub every: Duration,
    /// What people call the device.
    pub name: String,
}

/// A datagram.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Beacon {
    /// A presence, and the device's signature.
    #[prost(message, optional, tag = "1")]
    signed: Option<Signed>,
    /// The device's certificate and its issuing authority's; the root is known.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    chain: Vec<Bytes>,
}

/// The signed bytes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Said {
    #[prost(uint64, tag = "1")]
    sent: u64,
    #[prost(bytes = "bytes", tag = "2")]
    address: Bytes,
    #[prost(uint32, tag = "3")]
    every: u32,
    #[prost(string, tag = "4")]
    name: String,
}

/// A beacon that may be one, of a device of the same tenant; nothing of it is proven.
#[derive(Debug)]
pub struct Opened {
    /// Who it names.
    pub device: DeviceId,
    /// What it says.
    pub presence: Presence,
    signed: Signed,
    chain: Vec<CertificateDer<'static>>,
}

/// A beacon that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BeaconError {
    /// It is longer than any beacon is.
    #[error("a beacon of {0} bytes exceeds the limit of {BEACON_LIMIT}")]
    TooLong(usize),
    /// It cannot be read.
    #[error("the datagram is no beacon")]
    Malformed,
    /// It is of another time: a copy, or one of two clocks is wrong.
    #[error("the beacon was sent at {sent}, which is {} s from now", .sent.abs_diff(*.now))]
    Time {
        /// When it says that it was sent, Unix seconds.
        sent: u64,
        /// What this clock says.
        now: u64,
    },
    /// It was sent from another address than it came from.
    #[error("the beacon was sent from {said} and came from {from}")]
    Address {
        /// Where it says that it was sent from.
        said: IpAddr,
        /// Where it came from.
        from: IpAddr,
    },
    /// It is of another fabric or tenant.
    #[error("the beacon is of another fabric or tenant")]
    Foreign,
    /// Its certificate does not pass.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The certificate's holder did not sign it.
    #[error(transparent)]
    Signature(#[from] BadSignature),
}

/// Why a beacon was not made.
#[derive(Debug, thiserror::Error)]
pub enum NoBeacon {
    /// The device's key cannot be used now.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificates are longer than any that this fabric issues.
    #[error("a beacon of {0} bytes exceeds the limit of {BEACON_LIMIT}")]
    TooLong(usize),
}

impl Beacon {
    /// The datagram in which the holder of `identity` says `presence`.
    ///
    /// # Errors
    /// [`NoBeacon`].
    pub fn seal(identity: &Identity, presence: &Presence) -> Result<Vec<u8>, NoBeacon> {
        let signed = identity.key.try_sign(Context::Beacon, presence.said().encode_to_vec().into())?;
        let chain = identity.chain.iter().take(CHAIN).map(|one| Bytes::copy_from_slice(one)).collect();
        let bytes = Self { signed: Some(signed), chain }.encode_to_vec();
        if bytes.len() > BEACON_LIMIT { Err(NoBeacon::TooLong(bytes.len())) } else { Ok(bytes) }
    }

    /// Reads a datagram that came from `from` at `now`, and looks at everything that costs no signature.
    ///
    /// # Errors
    /// [`BeaconError`].
    pub fn open(
        datagram: &[u8],
        own: &Principal,
        from: IpAddr,
        now: UnixTime,
    ) -> Result<Opened, BeaconError> {
        if datagram.len() > BEACON_LIMIT {
            return Err(BeaconError::TooLong(datagram.len()));
        }
        let read = Self::decode(datagram).map_err(|_| BeaconError::Malformed)?;
        let signed = read.signed.ok_or(BeaconError::Malformed)?;
        if read.chain.is_empty() || read.chain.len() > CHAIN {
            return Err(BeaconError::Malformed);
        }
        let presence = Presence::read(&signed.bytes).ok_or(BeaconError::Malformed)?;
        let (sent, now) = (presence.sent, now.as_secs());
        if sent.abs_diff(now) > BEACON_WINDOW.as_secs() {
            return Err(BeaconError::Time { sent, now });
        }
        if presence.address != from {
            return Err(BeaconError::Address { said: presence.address, from });
        }
        let chain: Vec<_> = read.chain.into_iter().map(|one| CertificateDer::from(Vec::from(one))).collect();
        let named = Principal::named_in(&chain[0]).ok_or(BeaconError::Malformed)?;
        if (named.fabric, named.tenant, named.role) != (own.fabric, own.tenant, Role::Agent) {
            return Err(BeaconError::Foreign);
        }
        Ok(Opened { device: named.id(), presence, signed, chain })
    }
}

impl Opened {
    /// Checks that the device it names has said it, and was not revoked.
    ///
    /// # Errors
    /// [`BeaconError::Chain`] or [`BeaconError::Signature`].
    pub fn verify(self, trust: &Trust, crls: &Crls, now: UnixTime) -> Result<Presence, BeaconError> {
        // One signature, before the four of a path.
        self.signed.verify(Context::Beacon, &public_key_of(&self.chain[0])?)?;
        trust.verify_unrevoked(&self.chain, &[Role::Agent], now, crls, Freshness::Enforced)?;
        Ok(self.presence)
    }
}

impl Presence {
    fn said(&self) -> Said {
        let address = match self.address {
            IpAddr::V4(address) => Bytes::copy_from_slice(&address.octets()),
            IpAddr::V6(address) => Bytes::copy_from_slice(&address.octets()),
        };
        let every = u32::try_from(self.every.as_secs()).unwrap_or(u32::MAX);
        let end = (0..=NAME_LIMIT.min(self.name.len())).rev().find(|end| self.name.is_char_boundary(*end));
        Said { sent: self.sent, address, every, name: self.name[..end.unwrap_or(0)].to_owned() }
    }

    fn read(bytes: &Bytes) -> Option<Self> {
        let Said { sent, address, every, name } = Said::decode(bytes.clone()).ok()?;
        let address = match address.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(&address[..]).ok()?),
            16 => IpAddr::from(<[u8; 16]>::try_from(&address[..]).ok()?),
            _ => return None,
        };
        let every = Duration::from_secs(every.into());
        let is_sound = name.len() <= NAME_LIMIT && (EVERY_MIN..=EVERY_MAX).contains(&every);
        is_sound.then_some(Self { sent, address, every, name })
    }
}

/// UDP.
pub const BEACON_PORT: u16 = 15_000;
/// Where beacons go by IPv6: a group that nobody else has, of the link alone (RFC 4291, 2.7). By IPv4 they go to
/// 255.255.255.255, which no router passes on either.
pub const BEACON_GROUP: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x6b6c, 15_000);
/// Longest datagram: what passes every IPv6 link in one piece (RFC 8200, 5), without the headers.
pub const BEACON_LIMIT: usize = 1232;
/// How far the sender's clock may be from the receiver's; a copy is worth nothing after twice as long.
pub const BEACON_WINDOW: Duration = Duration::from_secs(60);
/// An agent that is alone says it so often.
pub const EVERY_MIN: Duration = Duration::from_secs(30);
/// An agent in a crowd says it so rarely at most.
pub const EVERY_MAX: Duration = Duration::from_secs(3600);
/// Longest name, in bytes.
pub const NAME_LIMIT: usize = 64;
/// Certificates: the device's and its authority's.
const CHAIN: usize = 2;

#[cfg(test)]
mod tests;
