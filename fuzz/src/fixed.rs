//! What is the same in every run, so that an input means the same tomorrow: keys, names, the time.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use klnet_wire::id::{DeviceId, FabricId, ServerId, TenantId};
use klnet_wire::signing::SigningKey;

/// Signs grants, key sets and server lists of the targets.
pub static KEY: LazyLock<SigningKey> = LazyLock::new(|| ed25519([7; 32]));

/// Signs what no target believes.
pub static OTHER_KEY: LazyLock<SigningKey> = LazyLock::new(|| ed25519([8; 32]));

/// The fabric of every target.
pub const FABRIC: FabricId = FabricId::new([0xfa; 16]);
/// The tenant of every target.
pub const TENANT: TenantId = TenantId::new([0x7e; 16]);
/// The first device; the relay's targets have more.
pub const DEVICE: DeviceId = DeviceId::new([0; 16]);
/// The server whose relay is meant.
pub const SERVER: ServerId = ServerId::new([0x5e; 16]);
/// The wall clock, Unix seconds.
pub const NOW: u64 = 1_800_000_000;

/// The wall clock.
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

/// An Ed25519 key from its seed: PKCS #8 of RFC 8410, 7.
fn ed25519(seed: [u8; 32]) -> SigningKey {
    let prefix =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    SigningKey::from_pkcs8(&[&prefix[..], &seed].concat()).expect("any 32 bytes are an Ed25519 key")
}
