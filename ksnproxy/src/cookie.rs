//! Cookies: a source that can show one receives what is sent to its address (RFC 7873, RFC 9018).

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher24;

/// Makes cookies and knows them again, under a key of its own.
#[derive(Clone)]
pub struct Cookies {
    key: [u8; 16],
}

impl Cookies {
    /// Cookies under a secret key that nobody else has.
    pub const fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// The cookie of a source at this second of the clock.
    pub fn make(&self, source: SocketAddr, unix: u32) -> u64 {
        self.of_period(source, unix / PERIOD)
    }

    /// Whether the source could only know the cookie because it was sent there, in this period or the one before.
    pub fn is_good(&self, cookie: u64, source: SocketAddr, unix: u32) -> bool {
        let period = unix / PERIOD;
        cookie == self.of_period(source, period) || cookie == self.of_period(source, period.wrapping_sub(1))
    }

    fn of_period(&self, source: SocketAddr, period: u32) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        match source.ip() {
            IpAddr::V4(address) => hasher.write(&address.to_ipv6_mapped().octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        hasher.write_u16(source.port());
        hasher.write_u32(period);
        hasher.finish()
    }
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cookies([redacted])")
    }
}

/// Seconds after which another cookie is made; the one before is still good.
const PERIOD: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_good_for_its_source_alone() {
        let cookies = Cookies::new([7; 16]);
        let source: SocketAddr = "192.0.2.1:1000".parse().unwrap();
        let cookie = cookies.make(source, 600);
        assert!(cookies.is_good(cookie, source, 600));
        for other in ["192.0.2.1:1001", "192.0.2.2:1000", "[2001:db8::1]:1000"] {
            assert!(!cookies.is_good(cookie, other.parse().unwrap(), 600), "{other}");
        }
        assert!(!Cookies::new([8; 16]).is_good(cookie, source, 600));
    }

    #[test]
    fn a_cookie_is_good_for_one_to_two_minutes() {
        let cookies = Cookies::new([7; 16]);
        let source = "192.0.2.1:1000".parse().unwrap();
        let cookie = cookies.make(source, 659);
        assert!(cookies.is_good(cookie, source, 719));
        assert!(!cookies.is_good(cookie, source, 720));
    }
}
