//! What a target signs about a finished connection.

use std::net::SocketAddr;

use bytes::Bytes;
use klnet_wire::id::{DeviceId, GrantId};
use klnet_wire::signed::{BadSignature, Context, PublicKey, Signed};
use prost::Message as _;

use crate::label::Cookie;
use crate::pair::EndReason;

/// A target's record of one verified connection; times are by the server's clock as WELCOME told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelRecord {
    /// The grant it was for.
    pub grant: GrantId,
    /// Names the connection at relay and target.
    pub cookie: Cookie,
    /// The device that carried it.
    pub device: DeviceId,
    /// The address that was dialled; `None` when none was reached.
    pub resolved: Option<SocketAddr>,
    /// When the operator's key was verified, Unix seconds.
    pub opened: u64,
    /// When it ended, Unix seconds.
    pub closed: u64,
    /// Bytes from the initiator to the target.
    pub to_target: u64,
    /// Bytes from the target to the initiator.
    pub to_initiator: u64,
    /// Why it ended.
    pub reason: EndReason,
}

/// Why a record was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The device did not sign it.
    #[error("the tunnel record is not signed by its device")]
    Signature(#[from] BadSignature),
    /// Longer than any record.
    #[error("tunnel record of {0} bytes exceeds the limit of {LIMIT}")]
    TooLong(usize),
    /// Its bytes are no record.
    #[error("the tunnel record cannot be read")]
    Malformed,
    /// It is about another device than the one that signed it.
    #[error("the tunnel record is about another device")]
    OtherDevice,
}

impl TunnelRecord {
    /// Verifies a record against the key and id of the device whose connection it came on.
    ///
    /// # Errors
    /// [`RecordError`] when `key` did not sign it, it is about another device, or it cannot be read.
    pub fn verify(signed: &Signed, device: DeviceId, key: &PublicKey) -> Result<Self, RecordError> {
        if signed.bytes.len() > LIMIT {
            return Err(RecordError::TooLong(signed.bytes.len()));
        }
        let record = Self::read(signed.verify(Context::TunnelRecord, key)?)?;
        match record.device == device {
            true => Ok(record),
            false => Err(RecordError::OtherDevice),
        }
    }

    /// Reads a record from the bytes that were signed.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] when they are none.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        let raw = Raw::decode(bytes).map_err(|_| RecordError::Malformed)?;
        let malformed = |_| RecordError::Malformed;
        let resolved = match raw.resolved.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| RecordError::Malformed)?),
        };
        Ok(Self {
            grant: raw.grant[..].try_into().map_err(malformed)?,
            cookie: raw.cookie[..].try_into().map_err(|_| RecordError::Malformed)?,
            device: raw.device[..].try_into().map_err(malformed)?,
            resolved,
            opened: raw.opened,
            closed: raw.closed,
            to_target: raw.to_target,
            to_initiator: raw.to_initiator,
            reason: raw.reason(),
        })
    }

    /// The bytes to sign.
    pub fn encode(&self) -> Bytes {
        let raw = Raw {
            grant: self.grant.to_vec(),
            cookie: self.cookie.as_bytes().to_vec(),
            device: self.device.to_vec(),
            resolved: self.resolved.map_or(String::new(), |address| address.to_string()),
            opened: self.opened,
            closed: self.closed,
            to_target: self.to_target,
            to_initiator: self.to_initiator,
            reason: self.reason.into(),
        };
        raw.encode_to_vec().into()
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Raw {
    #[prost(bytes = "vec", tag = "1")]
    grant: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    cookie: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    device: Vec<u8>,
    #[prost(string, tag = "4")]
    resolved: String,
    #[prost(uint64, tag = "5")]
    opened: u64,
    #[prost(uint64, tag = "6")]
    closed: u64,
    #[prost(uint64, tag = "7")]
    to_target: u64,
    #[prost(uint64, tag = "8")]
    to_initiator: u64,
    #[prost(enumeration = "EndReason", tag = "9")]
    reason: i32,
}

/// Most bytes of a record.
pub const LIMIT: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;
    use klnet_wire::signing::SigningKey;
    use proptest::prelude::*;

    #[test]
    fn a_record_is_the_golden_one() {
        assert_eq!(HEXLOWER.encode(&sample().encode()), GOLDEN);
    }

    #[test]
    fn a_record_is_believed_from_its_own_device_only() {
        let (key, other) = (SigningKey::generate_p256(), SigningKey::generate_p256());
        let signed = key.sign(Context::TunnelRecord, sample().encode());
        let device = sample().device;
        assert_eq!(TunnelRecord::verify(&signed, device, key.public()), Ok(sample()));
        let by_other = TunnelRecord::verify(&signed, device, other.public());
        assert_eq!(by_other, Err(RecordError::Signature(BadSignature)));
        let about_other = TunnelRecord::verify(&signed, DeviceId::new([9; 16]), key.public());
        assert_eq!(about_other, Err(RecordError::OtherDevice));
    }

    #[test]
    fn a_record_signed_for_another_purpose_is_refused() {
        let key = SigningKey::generate_p256();
        let signed = key.sign(Context::Grant, sample().encode());
        let refused = TunnelRecord::verify(&signed, sample().device, key.public());
        assert_eq!(refused, Err(RecordError::Signature(BadSignature)));
    }

    proptest! {
        #[test]
        fn records_survive_their_bytes(opened: u64, closed: u64, to_target: u64, to_initiator: u64, v6: bool) {
            let resolved = Some(if v6 { "[fd00::1]:22" } else { "10.0.0.1:22" }.parse().unwrap());
            let record = TunnelRecord { resolved, opened, closed, to_target, to_initiator, ..sample() };
            prop_assert_eq!(TunnelRecord::read(&record.encode()), Ok(record));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = TunnelRecord::read(&bytes);
        }
    }

    fn sample() -> TunnelRecord {
        TunnelRecord {
            grant: GrantId::new([1; 16]),
            cookie: Cookie::new([2; 20]),
            device: DeviceId::new([3; 16]),
            resolved: None,
            opened: 10,
            closed: 20,
            to_target: 30,
            to_initiator: 40,
            reason: EndReason::Finished,
        }
    }

    const GOLDEN: &str = concat!(
        "0a1001010101010101010101010101010101121402020202020202020202020202020202020202021a100303",
        "0303030303030303030303030303280a3014381e40284801",
    );
}
