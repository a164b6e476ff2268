//! What is known of each address: two bits.

/// What is known of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Silent,
    Alive,
    /// There is no way to it.
    Refused,
}

/// The states of all addresses of a plan, four to a byte.
#[derive(Debug)]
pub(super) struct Board {
    cells: Vec<u8>,
    silent: u32,
    alive: u32,
}

impl Board {
    pub(super) fn new(len: u32) -> Self {
        let bytes = usize::try_from(len.div_ceil(4)).expect("a plan fits in memory");
        Self { cells: vec![0; bytes], silent: len, alive: 0 }
    }

    /// Changes the state; who is alive stays so.
    pub(super) fn set(&mut self, index: u32, state: State) {
        let before = self.state(index);
        if before == state || before == State::Alive {
            return;
        }
        let (cell, shift) = place(index);
        self.cells[cell] = self.cells[cell] & !(0b11 << shift) | (state as u8) << shift;
        self.silent -= u32::from(before == State::Silent);
        self.alive += u32::from(state == State::Alive);
    }

    pub(super) fn state(&self, index: u32) -> State {
        let (cell, shift) = place(index);
        match self.cells[cell] >> shift & 0b11 {
            0 => State::Silent,
            1 => State::Alive,
            _ => State::Refused,
        }
    }

    pub(super) const fn silent(&self) -> u32 {
        self.silent
    }

    pub(super) const fn alive(&self) -> u32 {
        self.alive
    }
}

fn place(index: u32) -> (usize, u32) {
    (usize::try_from(index / 4).expect("a plan fits in memory"), index % 4 * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_keep_their_states() {
        let mut board = Board::new(6);
        board.set(1, State::Alive);
        board.set(2, State::Refused);
        board.set(1, State::Refused);
        board.set(5, State::Refused);
        board.set(5, State::Alive);
        let states: Vec<_> = (0..6).map(|index| board.state(index)).collect();
        use State::{Alive, Refused, Silent};
        assert_eq!(states, [Silent, Alive, Refused, Silent, Silent, Alive]);
        assert_eq!((board.silent(), board.alive()), (3, 2));
    }

    #[test]
    fn a_slash_8_takes_4_mib() {
        assert_eq!(Board::new(crate::plan::SIZE_LIMIT).cells.len(), 4 << 20);
    }
}
