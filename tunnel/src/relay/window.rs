//! The labels of one grant that may be shown now.

use std::collections::BTreeMap;

use klnet_wire::id::GrantId;

use crate::label::{Label, LabelSecret};

/// Labels from [`WINDOW`] below the highest used number to [`WINDOW`] above it, each with its state.
#[derive(Debug)]
pub(super) struct Window {
    secret: LabelSecret,
    grant: GrantId,
    /// The first number that was never in the window.
    next: u32,
    slots: BTreeMap<u32, Slot>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    label: Label,
    state: LabelState,
}

/// What became of a label so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LabelState {
    /// May be shown.
    Unused,
    /// Shown; whether it counts is not known yet.
    Pairing,
    /// Shown by who has the operator's key.
    Used,
}

/// How the window moved.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) entered: Vec<(Label, u32)>,
    pub(super) left: Vec<Label>,
}

impl Window {
    /// Makes the window of a fresh grant, with the labels in it.
    pub(super) fn new(secret: LabelSecret, grant: GrantId) -> (Self, Moved) {
        let mut window = Self { secret, grant, next: 0, slots: BTreeMap::new() };
        let moved = Moved { entered: window.extend(WINDOW), left: Vec::new() };
        (window, moved)
    }

    /// A window without labels, which never has any.
    pub(super) fn closed(grant: GrantId) -> Self {
        Self { secret: LabelSecret::new([0; 32]), grant, next: u32::MAX, slots: BTreeMap::new() }
    }

    /// Takes an unused label into a pairing.
    ///
    /// # Errors
    /// The state of a label that is not unused; used for one that left the window.
    pub(super) fn pair(&mut self, n: u32) -> Result<(), LabelState> {
        let slot = self.slots.get_mut(&n).ok_or(LabelState::Used)?;
        match slot.state {
            LabelState::Unused => slot.state = LabelState::Pairing,
            state => return Err(state),
        }
        Ok(())
    }

    /// Gives a label back whose pairing came to nothing.
    pub(super) fn release(&mut self, n: u32) {
        if let Some(slot) = self.slots.get_mut(&n).filter(|slot| slot.state == LabelState::Pairing) {
            slot.state = LabelState::Unused;
        }
    }

    /// Marks a label as used and moves the window past it.
    pub(super) fn consume(&mut self, n: u32) -> Moved {
        if let Some(slot) = self.slots.get_mut(&n) {
            slot.state = LabelState::Used;
        }
        let entered = self.extend(n.saturating_add(1).saturating_add(WINDOW));
        let mut left = Vec::new();
        while let Some(first) = self.slots.first_entry()
            && first.key().saturating_add(2 * WINDOW) < self.next
        {
            left.push(first.remove().label);
        }
        Moved { entered, left }
    }

    /// The labels in the window.
    pub(super) fn labels(&self) -> impl Iterator<Item = Label> {
        self.slots.values().map(|slot| slot.label)
    }

    fn extend(&mut self, end: u32) -> Vec<(Label, u32)> {
        let mut entered = Vec::new();
        while self.next < end {
            let n = self.next;
            let label = Label::of(&self.secret, self.grant, n);
            self.slots.insert(n, Slot { label, state: LabelState::Unused });
            entered.push((label, n));
            self.next += 1;
        }
        entered
    }
}

/// Labels ahead of the highest used one, and behind it, that may be shown.
pub const WINDOW: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_bounded_wherever_it_moves() {
        let (mut window, moved) = Window::new(LabelSecret::new([1; 32]), GrantId::new([2; 16]));
        let mut live = moved.entered.len();
        for n in [0, 31, 60, 61, 62, 90, 1, 120, 151] {
            let moved = window.consume(n);
            live = live + moved.entered.len() - moved.left.len();
            assert_eq!(live, window.labels().count());
            assert!(live <= 2 * 32 + 1, "{live}");
        }
        assert_eq!(window.pair(152), Ok(()));
        assert_eq!(window.pair(183), Ok(()));
        assert_eq!(window.pair(184), Err(LabelState::Used), "not in the window yet");
        assert_eq!(window.pair(0), Err(LabelState::Used), "not in the window any more");
    }

    #[test]
    fn a_label_pairs_once_until_it_is_given_back() {
        let (mut window, _) = Window::new(LabelSecret::new([1; 32]), GrantId::new([2; 16]));
        assert_eq!(window.pair(5), Ok(()));
        assert_eq!(window.pair(5), Err(LabelState::Pairing));
        window.release(5);
        assert_eq!(window.pair(5), Ok(()));
        let _ = window.consume(5);
        window.release(5);
        assert_eq!(window.pair(5), Err(LabelState::Used));
    }
}
