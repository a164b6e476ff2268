//! A member of the group that forges symbols: it has the keys of all members, and not the announcer's.

use super::agenda::What;
use super::world::World;
use crate::receiver::{Input, Run};
use crate::symbols::SymbolSet;

impl World<'_> {
    /// Lets it begin, if there is one.
    pub(super) fn rouse_insider(&mut self) {
        if let Some(insider) = self.scenario.insider {
            self.agenda.add(self.start + insider.from, What::Forge);
        }
    }

    /// Forges symbols of the block that is being sent or of the next one, which is where they do most harm.
    pub(super) fn forge(&mut self) {
        let Some(insider) = self.scenario.insider else { return };
        let layout = self.scenario.layout;
        let ahead = u32::from(self.dice.bits().is_multiple_of(2));
        let block = (self.sender.frontier() + ahead).min(layout.blocks() - 1);
        let all = layout.symbols(block);
        let first = u16::try_from(self.dice.bits() % u64::from(all)).expect("below a number of 16 bits");
        for index in 0..self.stations.len() {
            for esi in first..first.saturating_add(insider.count).min(all) {
                self.forge_at(index, block, esi);
            }
            self.drain_receiver(index);
        }
        let next = self.now + insider.every;
        if next < self.start + insider.until {
            self.agenda.add(next, What::Forge);
        }
    }

    fn forge_at(&mut self, index: usize, block: u32, esi: u16) {
        let (now, station) = (self.now, &mut self.stations[index]);
        let is_tagged = station.tagged.get(&block).is_some_and(|tagged| tagged.contains(esi));
        let Some(receiver) = station.receiver.as_mut().filter(|_| !is_tagged) else { return };
        if receiver.handle_symbols(now, Run { number: 1, block, esi, count: 1 })
            && let Some(content) = &mut self.content
        {
            content.keep_forged(index, block, esi);
        }
    }

    /// Tags of a block arrive at a receiver.
    pub(super) fn tagged(&mut self, index: usize, block: u32, first: u16, count: u16) {
        let all = self.scenario.layout.symbols(block);
        let tagged = self.stations[index].tagged.entry(block);
        tagged.or_insert_with(|| SymbolSet::new(all)).insert(first, count);
        if let Some(content) = &self.content {
            let sound = content.sound(index, block, first, count);
            self.tell(index, Input::Tagged { block, first, count, sound });
        }
    }

    /// A block turned out not to be what was sent; what is known of its symbols already is used at once.
    pub(super) fn spoilt(&mut self, index: usize, block: u32, have: SymbolSet) {
        self.tell(index, Input::Spoilt { block, have });
        let all = self.scenario.layout.symbols(block);
        let is_known = self.stations[index].tagged.get(&block).is_some_and(|tagged| tagged.len() == all);
        if is_known {
            self.tagged(index, block, 0, all);
        }
    }
}
