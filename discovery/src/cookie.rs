//! What a probe carries and only an answer to it can carry back: a keyed hash of where it went.
//!
//! An answer is checked by computing the hash again, so nothing is remembered about any probe, and whoever did not see
//! the probe cannot forge its answer (the idea of SYN cookies: RFC 4987, 3.6).

use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

/// The secret of one poll.
#[derive(Clone, Copy)]
pub struct CookieKey([u8; 16]);

impl CookieKey {
    /// A key of random bytes; a new one for each poll.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The cookie of one attempt at an address.
    pub fn cookie(&self, target: IpAddr, attempt: u16) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        match target {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        hasher.write(&attempt.to_be_bytes());
        hasher.finish()
    }

    /// A number that is the same for the whole poll: identifiers, ports, the order of a walk.
    pub fn number(&self, purpose: &str) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(purpose.as_bytes());
        hasher.finish()
    }
}

impl fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_for_one_key_address_and_attempt() {
        let key = CookieKey::new([1; 16]);
        let cookie = key.cookie(address(1), 1);
        assert_eq!(cookie, key.cookie(address(1), 1));
        assert_ne!(cookie, key.cookie(address(2), 1));
        assert_ne!(cookie, key.cookie(address(1), 2));
        assert_ne!(cookie, CookieKey::new([2; 16]).cookie(address(1), 1));
    }

    #[test]
    fn the_key_never_prints_itself() {
        assert!(!format!("{:?}", CookieKey::new([77; 16])).contains("77"));
    }

    fn address(last: u8) -> IpAddr {
        [10, 1, 0, last].into()
    }
}
