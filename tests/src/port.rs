//! Ports for servers that start later, or again: nobody else is given them meanwhile.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// `N` ports of 127.0.0.1 that nothing listens on and that this process hands out once.
///
/// They lie below the range from which Linux takes the port of a connection or of a listener on port 0 (32768 to
/// 60999), so that none of those takes one before its server listens, or while that is restarted.
///
/// # Panics
/// When fewer than `N` ports are left.
#[must_use]
pub fn free_ports<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| free_port())
}

fn free_port() -> u16 {
    static HANDED_OUT: AtomicU16 = AtomicU16::new(0);
    loop {
        let number = HANDED_OUT.fetch_add(1, Ordering::Relaxed);
        assert!(number < LAST - FIRST, "all ports from {FIRST} to {LAST} are taken");
        // Test programs that run at once begin at different ports.
        let start = std::process::id() % PROGRAMS * STRIDE;
        let offset = (start + u32::from(number)) % u32::from(LAST - FIRST);
        let port = FIRST + u16::try_from(offset).expect("below the difference of two ports");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

const FIRST: u16 = 16_384;
/// The product's own ports begin here.
const LAST: u16 = 29_200;
/// More than one test program asks for.
const STRIDE: u32 = 256;
/// As many as have ports of their own.
const PROGRAMS: u32 = 50;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_is_handed_out_twice_though_nobody_listens_on_it() {
        let ports: BTreeSet<_> = (0..50).flat_map(|_| free_ports::<4>()).collect();
        assert_eq!(ports.len(), 200);
        assert!(ports.iter().all(|port| (FIRST..LAST).contains(port)));
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_passed_over() {
        let held: Vec<_> = free_ports::<20>()
            .into_iter()
            .filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
            .collect();
        let more = free_ports::<20>();
        assert!(held.iter().all(|held| !more.contains(&held.local_addr().unwrap().port())));
    }
}
