//! What the sender is told of room: whether there is hardly any, and what found none.

/// Room in the socket's buffer and in memory.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Packets that the socket dropped.
    overruns: u32,
    /// Symbols that found no room in memory.
    crowded_out: u32,
    /// Whether much waits in the socket's buffer.
    backlogged: bool,
    /// Whether the sender is told that there is hardly any.
    full: bool,
}

impl Room {
    /// The socket dropped so many packets so far.
    pub(super) const fn overran(&mut self, overruns: u32) {
        self.overruns = overruns;
    }

    /// So many symbols found no room in memory.
    pub(super) fn crowd_out(&mut self, symbols: u16) {
        self.crowded_out = self.crowded_out.saturating_add(symbols.into());
    }

    /// Takes in the share of the socket's buffer that waits; says whether that is much now and was not, or the other way
    /// round.
    pub(super) fn weigh(&mut self, share: f64) -> bool {
        let backlogged = share > if self.backlogged { BACKLOG_LITTLE } else { BACKLOG_MUCH };
        std::mem::replace(&mut self.backlogged, backlogged) != backlogged
    }

    /// Notes whether there is hardly any room; says whether that is news.
    pub(super) fn note(&mut self, full: bool) -> bool {
        std::mem::replace(&mut self.full, full) != full
    }

    /// Whether much waits in the socket's buffer.
    pub(super) const fn is_backlogged(&self) -> bool {
        self.backlogged
    }

    /// Whether the sender is told that there is hardly any.
    pub(super) const fn is_full(&self) -> bool {
        self.full
    }

    /// What found no room so far.
    pub(super) fn dropped(&self) -> u32 {
        self.overruns.saturating_add(self.crowded_out)
    }
}

/// The share of the socket's buffer above which the sender is to wait, so that what is on its way finds room.
const BACKLOG_MUCH: f64 = 0.5;
/// The share below which it may go on, before nothing is left to take.
const BACKLOG_LITTLE: f64 = 0.25;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_fills_and_is_emptied_is_told_of_twice() {
        let mut room = Room::default();
        let told: Vec<_> = [0.3, 0.6, 0.4, 0.3, 0.2, 0.4].map(|share| room.weigh(share)).into();
        assert_eq!(told, [false, true, false, false, true, false]);
    }

    #[test]
    fn what_the_socket_and_what_memory_dropped_is_one_number() {
        let mut room = Room::default();
        room.overran(3);
        room.crowd_out(4);
        room.overran(5);
        assert_eq!(room.dropped(), 9);
    }
}
