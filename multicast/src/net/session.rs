//! One session that a receiver takes part in.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use klnet_wire::signed::PublicKey;

use super::budget::Budget;
use super::socket::Socket;
use super::tagbook::TagBook;
use super::worker::{Block, Job, Worker};
use crate::id::SessionId;
use crate::key::{EpochKey, FeedbackKeys, PacketKey, random};
use crate::layout::Layout;
use crate::manifest::Manifest;
use crate::mark::Mark;
use crate::packet::{Header, Letter};
use crate::receiver::{Input, Output, Receiver, Run};
use crate::symbols::SymbolSet;
use crate::tags::Tags;

/// A session, its keys and the blocks in memory.
#[derive(Debug)]
pub(super) struct Session {
    /// What the worker knows it by.
    pub(super) token: u64,
    pub(super) id: SessionId,
    pub(super) manifest: Manifest,
    pub(super) layout: Layout,
    pub(super) core: Receiver,
    /// Where its sender is: that is where it was announced from.
    pub(super) sender: SocketAddr,
    /// Of the last announcement.
    pub(super) sequence: u32,
    pub(super) begun: Instant,
    /// Blocks that were there before.
    pub(super) resumed: u32,
    /// Set once it is over: whether the object is complete.
    pub(super) over: Option<bool>,
    /// When to try again what the disk refused.
    pub(super) retry_at: Option<Instant>,
    receiver: crate::id::ReceiverId,
    epoch: EpochKey,
    lanes: [Option<PacketKey>; LANES],
    feedback: FeedbackKeys,
    blocks: HashMap<u32, Vec<u8>>,
    /// Memory of blocks that are done.
    spare: Vec<Vec<u8>>,
    tags: TagBook,
}

/// Who a receiver is in a session.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) receiver: crate::id::ReceiverId,
    pub(super) feedback: FeedbackKeys,
    pub(super) epoch: EpochKey,
}

impl Session {
    pub(super) fn new(
        token: u64,
        id: SessionId,
        identity: Identity,
        (manifest, layout): (Manifest, Layout),
        core: Receiver,
        sender: SocketAddr,
    ) -> Self {
        let Identity { receiver, feedback, epoch } = identity;
        Self {
            token,
            id,
            manifest,
            layout,
            core,
            sender,
            sequence: 0,
            begun: Instant::now(),
            resumed: 0,
            over: None,
            retry_at: None,
            receiver,
            epoch,
            lanes: [const { None }; LANES],
            feedback,
            blocks: HashMap::new(),
            spare: Vec::new(),
            tags: TagBook::new(id, layout),
        }
    }

    /// Takes in a symbol or mark that names this session; what is not authentic costs its check.
    pub(super) fn handle(&mut self, now: Instant, header: Header, length: usize, datagram: &mut [u8]) {
        let Some(key) = self.key(header) else { return };
        let Ok(body) = header.open(key, length, datagram) else { return };
        match header {
            Header::Symbol { number, block, esi, .. } => {
                let run = Run { number, block, esi, count: 1 };
                let is_whole = body.len() == usize::from(self.layout.symbol());
                if is_whole && self.tags.admits(block, esi, body) && self.core.handle_symbols(now, run) {
                    self.keep(block, esi, body);
                }
            }
            Header::Mark { number, .. } => {
                if let Ok(mark) = Mark::decode(body) {
                    self.core.handle_input(now, Input::Mark { number, mark });
                }
            }
            _ => {}
        }
    }

    /// Takes in tags of a block that is not verified yet; their signature is checked last.
    pub(super) fn handle_tags(
        &mut self,
        now: Instant,
        (header, length): (Header, usize),
        datagram: &mut [u8],
        announcers: &[PublicKey],
        budget: &mut Budget,
    ) {
        let Some(key) = self.key(header) else { return };
        let Ok(body) = header.open(key, length, datagram) else { return };
        let is_needed = Tags::block(body).is_ok_and(|block| !self.core.is_verified(block));
        if !is_needed || !budget.take(now) {
            return;
        }
        let Ok(tags) = Tags::verify(body, self.id, announcers) else { return };
        self.tags.take(&tags);
        let count = u16::try_from(tags.tags.len()).unwrap_or(u16::MAX);
        self.compare(now, tags.block, tags.first, count);
    }

    /// Takes back a block that is not what was signed: somebody forged some of its symbols.
    pub(super) fn spoilt(&mut self, now: Instant, block: u32, have: SymbolSet, symbols: Vec<u8>) {
        self.blocks.insert(block, symbols);
        self.core.handle_input(now, Input::Spoilt { block, have });
        if self.tags.is_complete(block) {
            self.compare(now, block, 0, self.layout.symbols(block));
        }
    }

    /// Compares what is kept of a block with its tags.
    fn compare(&mut self, now: Instant, block: u32, first: u16, count: u16) {
        let Some(symbols) = self.blocks.get(&block) else { return };
        let sound = self.tags.sound(block, first, count, symbols);
        self.core.handle_input(now, Input::Tagged { block, first, count, sound });
    }

    /// Takes in a receipt.
    pub(super) fn handle_receipt(
        &mut self,
        now: Instant,
        header: Header,
        length: usize,
        datagram: &mut [u8],
    ) {
        if header.open(&self.feedback.receipt, length, datagram).is_ok() {
            self.core.handle_input(now, Input::Receipt);
        }
    }

    /// Takes in a whole object that came in its announcement.
    pub(super) fn handle_inline(&mut self, now: Instant, number: u64, inline: &[u8]) {
        let (catalogue, content) = inline.split_at(inline.len().min(self.manifest.catalogue_length as usize));
        let size = usize::from(self.layout.symbol());
        for (block, bytes) in [(0, catalogue), (1, content)] {
            if bytes.is_empty()
                || block >= self.layout.blocks()
                || bytes.len() != self.layout.bytes(block) as usize
            {
                continue;
            }
            let count = self.layout.sources(block);
            if self.core.handle_symbols(now, Run { number, block, esi: 0, count }) {
                for (esi, symbol) in (0..count).zip(bytes.chunks(size)) {
                    self.keep(block, esi, symbol);
                }
            }
        }
    }

    /// Does what the core decided.
    pub(super) fn drain(&mut self, answer: &Socket, worker: &Worker) -> bool {
        let mut rejoin = false;
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Restore { block, have } => {
                    if let Some(symbols) = self.blocks.remove(&block) {
                        worker.give(Job::Block(self.token, Block { block, have, symbols }));
                    }
                }
                Output::Forget(block) => {
                    let symbols = self.blocks.remove(&block);
                    self.spare.extend(symbols);
                }
                Output::Say(said) => self.say(answer, &said.encode()),
                Output::Finish => worker.give(Job::Finish(self.token)),
                Output::Rejoin => rejoin = true,
                Output::Over { complete } => self.over = Some(complete),
            }
        }
        rejoin
    }

    /// Takes back the memory of a block that is done.
    pub(super) fn reuse(&mut self, block: u32, symbols: Vec<u8>) {
        self.tags.forget(block);
        if self.spare.len() < crate::receiver::WINDOW {
            self.spare.push(symbols);
        }
    }

    /// Bytes of content that are verified.
    pub(super) fn bytes(&self) -> u64 {
        let content = self.core.verified().saturating_sub(u32::from(self.core.is_verified(0)));
        (u64::from(content) << self.manifest.block_log2).min(self.manifest.length)
    }

    fn key(&mut self, header: Header) -> Option<&PacketKey> {
        let (Header::Symbol { lane, .. } | Header::Mark { lane, .. } | Header::Tags { lane, .. }) = header
        else {
            return None;
        };
        let slot = self.lanes.get_mut(usize::from(lane))?;
        Some(slot.get_or_insert_with(|| self.epoch.packets(self.id, lane)))
    }

    fn keep(&mut self, block: u32, esi: u16, symbol: &[u8]) {
        let size = usize::from(self.layout.symbol());
        let (spare, layout) = (&mut self.spare, &self.layout);
        let symbols = self.blocks.entry(block).or_insert_with(|| {
            let mut symbols = spare.pop().unwrap_or_default();
            // What a block had before is overwritten or restored before it is read.
            symbols.resize(usize::from(layout.symbols(block)) * size, 0);
            symbols
        });
        let begin = usize::from(esi) * size;
        if let Some(place) = symbols.get_mut(begin..begin + size) {
            let (bytes, rest) = place.split_at_mut(symbol.len().min(size));
            bytes.copy_from_slice(&symbol[..bytes.len()]);
            rest.fill(0);
        }
    }

    fn say(&self, answer: &Socket, body: &[u8]) {
        let letter = Letter { session: self.id.short(), receiver: self.receiver, nonce: random() };
        let mut packet = Vec::new();
        Header::Feedback(letter).seal(&self.feedback.feedback, body, &mut packet);
        if let Err(error) = answer.send(self.sender, &packet, packet.len()) {
            // It will be said again.
            tracing::debug!(%error, to = %self.sender, "feedback was not sent");
        }
    }
}

/// Lanes of a session that are listened to.
const LANES: usize = 4;
