//! A receiver among the sessions of a group: which it takes part in, and what comes of them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::budget::{Budget, TAG_BUDGET, VERIFY_BUDGET};
use super::event::{Receipt, ReceiveEvent, Refusal};
use super::memory::Memory;
use super::session::{Identity, Session};
use super::socket::Socket;
use super::store::{Store, StoreError};
use super::versions::Versions;
use super::worker::{Done, Job, Worker};
use super::{Membership, SESSIONS_LIMIT};
use crate::announcement::{Announcement, Phase};
use crate::id::SessionId;
use crate::key::{EpochKey, FeedbackKeys, random};
use crate::manifest::Manifest;
use crate::packet::Header;
use crate::path::RESERVED;
use crate::receiver::{Config, Input, Receiver};

/// Says what time it is, in Unix seconds, where that may be trusted.
pub(super) type Clock = fn() -> u64;

/// Takes part in the sessions of a group.
pub(super) struct Node<'a> {
    folder: &'a Path,
    label: &'a str,
    clock: Option<Clock>,
    membership: Membership,
    sessions: Vec<Session>,
    /// Sessions that are over or were refused.
    past: VecDeque<SessionId>,
    versions: Versions,
    budget: Budget,
    tag_budget: Budget,
    worker: Worker,
    tokens: u64,
    ticked: Instant,
    /// What happened since somebody looked.
    pub(super) news: Vec<ReceiveEvent>,
}

impl<'a> Node<'a> {
    pub(super) fn new(
        folder: &'a Path,
        membership: Membership,
        label: &'a str,
        clock: Option<Clock>,
    ) -> Result<Self, StoreError> {
        let path = folder.join(RESERVED).join("versions");
        let versions = Versions::open(path.clone()).map_err(|error| StoreError::Io { path, error })?;
        let worker = Worker::start().map_err(|error| StoreError::Io { path: folder.to_owned(), error })?;
        let now = Instant::now();
        Ok(Self {
            folder,
            label,
            clock,
            membership,
            sessions: Vec::new(),
            past: VecDeque::new(),
            versions,
            budget: Budget::new(now, VERIFY_BUDGET),
            tag_budget: Budget::new(now, TAG_BUDGET),
            worker,
            tokens: 0,
            ticked: now,
            news: Vec::new(),
        })
    }

    /// Takes in a datagram from anybody.
    pub(super) fn handle(&mut self, now: Instant, datagram: &mut [u8], from: SocketAddr) {
        let Ok((header, length)) = Header::decode(datagram) else { return };
        match header {
            Header::Symbol { session, .. } | Header::Mark { session, .. } => {
                if let Some(session) = self.sessions.iter_mut().find(|known| known.id.short() == session) {
                    session.handle(now, header, length, datagram);
                }
            }
            Header::Tags { session, .. } => {
                if let Some(session) = self.sessions.iter_mut().find(|known| known.id.short() == session) {
                    let announcers = &self.membership.announcers;
                    session.handle_tags(now, (header, length), datagram, announcers, &mut self.tag_budget);
                }
            }
            Header::Receipt(letter) if letter.receiver == self.membership.receiver => {
                if let Some(session) =
                    self.sessions.iter_mut().find(|known| known.id.short() == letter.session)
                {
                    session.handle_receipt(now, header, length, datagram);
                }
            }
            Header::Announcement { lane, epoch, session, number } => {
                if self.past.contains(&session) {
                    return;
                }
                let epoch = self.membership.epochs.iter().find(|known| known.epoch == epoch).cloned();
                let Some(epoch) = epoch else { return };
                if let Ok(body) = header.open(&epoch.packets(session, lane), length, datagram) {
                    self.announced(now, (session, number, epoch), body, from);
                }
            }
            Header::Receipt(_) | Header::Feedback(_) => {}
        }
    }

    /// Takes in an announcement that a member of the group sent; whether it is the announcer's is checked here.
    fn announced(
        &mut self,
        now: Instant,
        (id, number, epoch): (SessionId, u64, EpochKey),
        body: &[u8],
        from: SocketAddr,
    ) {
        let known = self.sessions.iter().position(|session| session.id == id);
        let last = known.map(|index| self.sessions[index].sequence);
        let Ok(sequence) = Announcement::sequence(body) else { return };
        if last.is_some_and(|last| sequence <= last) || !self.budget.take(now) {
            return;
        }
        let Ok(announcement) = Announcement::verify(body, id, &self.membership.announcers) else { return };
        let index = match known {
            Some(index) => index,
            None if announcement.phase == Phase::Ended => return,
            None => match self.open(now, id, epoch, &announcement, from) {
                Some(index) => index,
                None => return,
            },
        };
        let session = &mut self.sessions[index];
        session.sequence = sequence;
        let input = Input::Announced {
            number,
            ended: announcement.phase == Phase::Ended,
            demoted: announcement.demoted.contains(&self.membership.receiver),
        };
        session.core.handle_input(now, input);
        session.handle_inline(now, number, &announcement.inline);
    }

    /// Opens a session whose object may be taken.
    fn open(
        &mut self,
        now: Instant,
        id: SessionId,
        epoch: EpochKey,
        announcement: &Announcement,
        from: SocketAddr,
    ) -> Option<usize> {
        let manifest = match self.accept(announcement) {
            Ok(manifest) => manifest,
            Err(reason) => {
                self.forget(id);
                self.news.push(ReceiveEvent::Refused { sender: from, reason });
                return None;
            }
        };
        // One object comes once, also when it is sent by two interfaces of one sender; a sender that was started anew goes
        // on where the one before it went.
        let is_same = |session: &Session| session.manifest.catalogue == manifest.catalogue;
        if let Some(coming) = self.sessions.iter().position(is_same) {
            if !self.sessions[coming].core.is_deserted(now) {
                return None;
            }
            self.close(coming);
        }
        if self.sessions.len() >= SESSIONS_LIMIT {
            return None;
        }
        let layout = manifest.layout(announcement.symbol)?;
        self.tokens += 1;
        let seed = u64::from_be_bytes(random());
        let config = Config { label: self.label.to_owned(), seed, ..Config::default() };
        let core = Receiver::new(now, config, layout);
        let receiver = self.membership.receiver;
        let identity = Identity { receiver, feedback: FeedbackKeys::new(&self.membership.key, id), epoch };
        let store = Store::new(self.folder, manifest.clone());
        self.worker.give(Job::Open(self.tokens, Box::new(store), layout));
        self.sessions.push(Session::new(self.tokens, id, identity, (manifest.clone(), layout), core, from));
        self.news.push(ReceiveEvent::Opened { session: id, manifest, sender: from });
        Some(self.sessions.len() - 1)
    }

    fn accept(&self, announcement: &Announcement) -> Result<Manifest, Refusal> {
        let manifest = Manifest::verify(&announcement.manifest, &self.membership.signers)?;
        let is_over = self.clock.is_some_and(|clock| manifest.expires <= clock());
        if manifest.audience != [0; 16] && !self.membership.audiences.contains(&manifest.audience) {
            return Err(Refusal::Audience(manifest.name));
        }
        if manifest.expires != 0 && is_over {
            return Err(Refusal::Expired(manifest.name));
        }
        if !self.versions.accept(&manifest) {
            return Err(Refusal::Older(manifest.name));
        }
        Ok(manifest)
    }

    /// Takes in what the disk's thread has done.
    pub(super) fn work_done(&mut self, now: Instant) {
        self.worker.bell().hush();
        while let Some(done) = self.worker.done() {
            let (Done::Found(token, _)
            | Done::Block { session: token, .. }
            | Done::Finished(token, _)
            | Done::Failed(token, _)) = done;
            let Some(session) = self.sessions.iter_mut().find(|session| session.token == token) else {
                continue;
            };
            match done {
                Done::Found(_, blocks) => {
                    session.resumed += u32::try_from(blocks.len()).unwrap_or(u32::MAX);
                    session.core.handle_input(now, Input::Resumed(blocks));
                }
                Done::Block { block, spoilt: Some(have), symbols, .. } => {
                    session.spoilt(now, block, have, symbols);
                }
                Done::Block { block, fits, repaired, symbols, .. } => {
                    session.reuse(block, symbols);
                    session.core.handle_input(now, Input::Restored { block, fits, repaired });
                }
                Done::Finished(_, paths) => {
                    session.core.handle_input(now, Input::Finished);
                    let receipt = receipt(session, paths);
                    if let Err(error) = self.versions.note(&session.manifest) {
                        tracing::warn!(%error, "the version was not noted: an older object would be taken");
                    }
                    self.news.push(ReceiveEvent::Completed(receipt));
                }
                Done::Failed(_, error) => {
                    session.core.handle_input(now, Input::Failed);
                    session.retry_at = Some(now + RETRY);
                    let manifest = session.manifest.clone();
                    self.news.push(ReceiveEvent::Failed { manifest, error });
                }
            }
        }
    }

    /// Tells what waits in the socket's buffer, before any of it is taken: whoever was kept from taking it has much there.
    pub(super) fn weigh(&mut self, now: Instant, memory: Memory) {
        for session in &mut self.sessions {
            session.core.handle_input(now, Input::Backlog(memory.taken));
            session.core.handle_input(now, Input::Overruns(memory.drops));
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Instant) {
        let is_time = now.saturating_duration_since(self.ticked) >= TICK;
        if is_time {
            self.ticked = now;
        }
        for session in &mut self.sessions {
            if is_time {
                let (manifest, bytes) = (session.manifest.clone(), session.bytes());
                self.news.push(ReceiveEvent::Progress { session: session.id, manifest, bytes });
            }
            if session.retry_at.is_some_and(|when| when <= now) {
                session.retry_at = None;
                session.core.handle_input(now, Input::Retry);
            }
            session.core.handle_timeout(now);
        }
    }

    /// Does what the cores decided; says whether the group is to be joined again.
    pub(super) fn drain(&mut self, answer: &Socket) -> bool {
        let mut rejoin = false;
        for session in &mut self.sessions {
            rejoin |= session.drain(answer, &self.worker);
        }
        while let Some(index) = self.sessions.iter().position(|session| session.over.is_some()) {
            self.close(index);
        }
        rejoin
    }

    /// Takes part in a session no more.
    fn close(&mut self, index: usize) {
        let session = self.sessions.swap_remove(index);
        self.worker.give(Job::Close(session.token));
        self.forget(session.id);
        let complete = session.over == Some(true);
        let manifest = session.manifest;
        self.news.push(ReceiveEvent::Closed { session: session.id, manifest, complete });
    }

    /// When something is due.
    pub(super) fn next(&mut self, now: Instant) -> Instant {
        let idle = now + Duration::from_secs(1);
        let tick = if self.sessions.is_empty() { idle } else { self.ticked + TICK };
        self.sessions.iter_mut().filter_map(|session| session.core.poll_timeout()).fold(tick, Instant::min)
    }

    /// Can be read when the disk's thread has done something.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.worker.bell().as_fd()
    }

    /// Remembers a session that is over, so that a late announcement does not open it again.
    fn forget(&mut self, session: SessionId) {
        if self.past.len() == PAST {
            self.past.pop_front();
        }
        self.past.push_back(session);
    }
}

fn receipt(session: &Session, paths: Vec<PathBuf>) -> Receipt {
    Receipt {
        name: session.manifest.name.clone(),
        version: session.manifest.version,
        bytes: session.manifest.length,
        paths,
        repaired: session.core.repaired(),
        resumed: session.resumed,
        time: session.begun.elapsed(),
    }
}

/// As often as a progress bar moves.
const TICK: Duration = Duration::from_millis(100);
/// Before the disk is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Sessions that are remembered when they are over.
const PAST: usize = 256;
