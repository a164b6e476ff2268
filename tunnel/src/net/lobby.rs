//! Who may wait before having said anything of use: so many altogether, so many from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Bounds of a lobby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections altogether.
    pub total: usize,
    /// Connections from one IPv4 address or one IPv6 network of 64 bits.
    pub per_source: usize,
}

impl Default for Limits {
    /// Room for a fleet behind one address that comes back at once; bounded memory and descriptors.
    fn default() -> Self {
        Self { total: 4096, per_source: 1024 }
    }
}

/// Counts the connections that are not known yet. A full lobby turns new ones away; who waits in it is not disturbed.
#[derive(Debug)]
pub struct Lobby {
    limits: Limits,
    // Entered from one task per connection and left from its drop, where nothing can be awaited: a lock held for a
    // few instructions instead of a task and a channel.
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    total: usize,
    sources: HashMap<IpAddr, usize>,
}

/// A place in a lobby, free again when dropped.
#[derive(Debug)]
pub struct Seat {
    lobby: Arc<Lobby>,
    source: IpAddr,
}

impl Lobby {
    /// An empty lobby.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, seats: Mutex::default() })
    }

    /// Takes a seat; `None` when the lobby is full, altogether or for this source.
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Seat> {
        let source = source_of(peer);
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = seats.sources.get(&source).copied().unwrap_or(0);
        if seats.total >= self.limits.total || taken >= self.limits.per_source {
            return None;
        }
        seats.total += 1;
        seats.sources.insert(source, taken + 1);
        Some(Seat { lobby: self.clone(), source })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.lobby.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.total -= 1;
        match seats.sources.get_mut(&self.source) {
            Some(taken) if *taken > 1 => *taken -= 1,
            _ => drop(seats.sources.remove(&self.source)),
        }
    }
}

/// Whoever has one IPv6 address has its whole network of 64 bits (RFC 4291, 2.5.1).
fn source_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_cannot_take_every_seat() {
        let lobby = Lobby::new(Limits { total: 3, per_source: 2 });
        let seats = [lobby.enter(v4(1)), lobby.enter(v4(1))];
        assert!(seats.iter().all(Option::is_some));
        assert!(lobby.enter(v4(1)).is_none());
        let _other = lobby.enter(v4(2)).unwrap();
        assert!(lobby.enter(v4(3)).is_none(), "three seats altogether");
        drop(seats);
        assert!(lobby.enter(v4(1)).is_some());
    }

    #[test]
    fn a_v6_network_is_one_source() {
        let lobby = Lobby::new(Limits { total: 9, per_source: 1 });
        let _seat = lobby.enter("2001:db8::1".parse().unwrap()).unwrap();
        assert!(lobby.enter("2001:db8::2".parse().unwrap()).is_none());
        assert!(lobby.enter("2001:db8:0:1::1".parse().unwrap()).is_some());
        let _mapped = lobby.enter("::ffff:192.0.2.1".parse().unwrap()).unwrap();
        assert!(lobby.enter(v4(1)).is_none(), "a mapped address is the IPv4 one");
    }

    #[test]
    fn a_lobby_forgets_who_has_left() {
        let lobby = Lobby::new(Limits::default());
        drop((lobby.enter(v4(1)), lobby.enter(v4(1)), lobby.enter(v4(2))));
        let seats = lobby.seats.lock().unwrap();
        assert_eq!((seats.total, seats.sources.len()), (0, 0));
    }

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }
}
