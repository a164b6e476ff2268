//! A block that was not what was signed: which of its symbols are what the sender sent.

use crate::symbols::SymbolSet;

/// A block that waits for tags.
#[derive(Debug)]
pub(super) struct Suspect {
    /// Symbols that came.
    have: SymbolSet,
    /// Those that were compared with their tags.
    tagged: SymbolSet,
    /// Those that came and are sound.
    sound: SymbolSet,
    all: u16,
}

impl Suspect {
    /// A block of `all` symbols, some of which came.
    pub(super) fn new(have: SymbolSet, all: u16) -> Self {
        Self { have, tagged: SymbolSet::new(all), sound: SymbolSet::new(all), all }
    }

    /// Notes that `count` symbols from `first` on were compared, and which are sound if they came.
    pub(super) fn compare(&mut self, first: u16, count: u16, sound: &SymbolSet) {
        self.tagged.insert(first, count);
        for esi in first..first.saturating_add(count).min(self.all) {
            if self.have.contains(esi) && sound.contains(esi) {
                self.sound.insert(esi, 1);
            }
        }
    }

    /// The sound ones, once all were compared.
    pub(super) fn verdict(&self) -> Option<SymbolSet> {
        (self.tagged.len() == self.all).then(|| self.sound.clone())
    }
}
