//! 128-bit identifiers, one type per kind of thing they name.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use ring::rand::{SecureRandom, SystemRandom};

/// A 128-bit identifier of a `Kind`; written as 32 lower-case hexadecimal digits.
///
/// Identity is never a host name: names repeat, and come back after a device was removed.
pub struct Id<Kind>([u8; 16], PhantomData<fn() -> Kind>);

/// A tenant: one virtual server inside a fabric.
pub type TenantId = Id<kind::Tenant>;
/// A managed device.
pub type DeviceId = Id<kind::Device>;
/// An operator of the fabric.
pub type OperatorId = Id<kind::Operator>;
/// A server of the fabric.
pub type ServerId = Id<kind::Server>;
/// A group of devices.
pub type GroupId = Id<kind::Group>;
/// A tunnel grant (the `jti` of its world).
pub type GrantId = Id<kind::Grant>;
/// An object on its way to a group of devices: the first 16 bytes of the object's id.
pub type DistributionId = Id<kind::Distribution>;
/// A set of public keys with everything signed under one root: first 16 bytes of SHA-256 of the root's SPKI.
pub type FabricId = Id<kind::Fabric>;

/// The kinds of thing an [`Id`] names.
pub mod kind {
    /// See [`TenantId`](super::TenantId).
    pub enum Tenant {}
    /// See [`DeviceId`](super::DeviceId).
    pub enum Device {}
    /// See [`OperatorId`](super::OperatorId).
    pub enum Operator {}
    /// See [`ServerId`](super::ServerId).
    pub enum Server {}
    /// See [`GroupId`](super::GroupId).
    pub enum Group {}
    /// See [`GrantId`](super::GrantId).
    pub enum Grant {}
    /// See [`DistributionId`](super::DistributionId).
    pub enum Distribution {}
    /// See [`FabricId`](super::FabricId).
    pub enum Fabric {}
}

impl<Kind> Id<Kind> {
    /// Makes the identifier with these bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes, PhantomData)
    }

    /// Draws a fresh identifier from the system's random source.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        SystemRandom::new().fill(&mut bytes).expect("the operating system gives randomness");
        Self::new(bytes)
    }

    /// The identifier's bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The identifier as bytes of its own, for a message.
    pub fn to_vec(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

/// Text or bytes that are not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an identifier is 16 bytes, or 32 lower-case hexadecimal digits")]
pub struct NotAnId;

impl<Kind> TryFrom<&[u8]> for Id<Kind> {
    type Error = NotAnId;

    fn try_from(bytes: &[u8]) -> Result<Self, NotAnId> {
        Ok(Self::new(bytes.try_into().map_err(|_| NotAnId)?))
    }
}

impl<Kind> FromStr for Id<Kind> {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| NotAnId)?;
        Self::try_from(bytes.as_slice())
    }
}

impl<Kind> fmt::Display for Id<Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl<Kind> fmt::Debug for Id<Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<Kind> Clone for Id<Kind> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Kind> Copy for Id<Kind> {}

impl<Kind> PartialEq for Id<Kind> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<Kind> Eq for Id<Kind> {}

impl<Kind> PartialOrd for Id<Kind> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<Kind> Ord for Id<Kind> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl<Kind> Hash for Id<Kind> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_text_and_bytes() {
        let id = DeviceId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(DeviceId::try_from(id.as_bytes().as_slice()), Ok(id));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "00", "zz000000000000000000000000000000", "AA000000000000000000000000000000"] {
            assert_eq!(text.parse::<DeviceId>(), Err(NotAnId), "{text}");
        }
    }
}
