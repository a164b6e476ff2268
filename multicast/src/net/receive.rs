//! Receives whatever is sent to a group into a folder.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::budget::{Budget, TAG_BUDGET, VERIFY_BUDGET};
use super::interface::Interface;
use super::room::wait;
use super::session::{Identity, Session};
use super::socket::{Inbox, Socket};
use super::store::{Store, StoreError, receiver_id};
use super::versions::Versions;
use super::worker::{Done, Job, Worker};
use super::{Membership, SESSIONS_LIMIT};
use crate::announcement::{Announcement, Phase};
use crate::id::{ReceiverId, SessionId};
use crate::key::{EpochKey, FeedbackKeys, random};
use crate::manifest::{Manifest, ManifestError};
use crate::packet::Header;
use crate::path::RESERVED;
use crate::receiver::{Config, Input, Receiver};

/// How to receive.
#[derive(Debug, Clone)]
pub struct ReceiveOptions {
    /// The group and its port.
    pub group: SocketAddr,
    /// On which interfaces.
    pub interfaces: Vec<Interface>,
    /// What the sender is told this receiver is called.
    pub label: String,
    /// A clock that may be trusted, in Unix seconds; without one nothing expires.
    pub clock: Option<fn() -> u64>,
    /// Ends it within a second once it is set.
    pub stop: Arc<AtomicBool>,
}

/// What happened.
#[derive(Debug)]
pub enum ReceiveEvent {
    /// A session was opened.
    Opened {
        /// The session.
        session: SessionId,
        /// What it brings.
        manifest: Manifest,
        /// Who sends it.
        sender: SocketAddr,
    },
    /// So many bytes of its object are verified; told some times a second.
    Progress {
        /// The session.
        session: SessionId,
        /// What it brings.
        manifest: Manifest,
        /// Bytes verified.
        bytes: u64,
    },
    /// An object is in its place.
    Completed(Receipt),
    /// An object cannot be taken now; it is tried again.
    Failed {
        /// What it is.
        manifest: Manifest,
        /// Why.
        error: StoreError,
    },
    /// An object is not taken.
    Refused {
        /// Who sends it.
        sender: SocketAddr,
        /// Why.
        reason: Refusal,
    },
    /// A session is over.
    Closed {
        /// The session.
        session: SessionId,
        /// What it brought.
        manifest: Manifest,
        /// Whether it is in its place.
        complete: bool,
    },
}

/// Why an object is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its manifest is not that of somebody known.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It is for others.
    #[error("{0:?} is for other devices")]
    Audience(String),
    /// It is too old to be taken.
    #[error("{0:?} has expired")]
    Expired(String),
    /// There is a newer one.
    #[error("{0:?} is older than what was received before")]
    Older(String),
}

/// What was received.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The object's name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Where its files are.
    pub paths: Vec<PathBuf>,
    /// Symbols that were lost and restored.
    pub repaired: u32,
    /// Blocks that were there before.
    pub resumed: u32,
    /// How long it took.
    pub time: Duration,
}

/// Why receiving ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The network cannot be used.
    #[error("cannot listen to {group}: {error}")]
    Socket {
        /// The group.
        group: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Receives into `folder` until `look` says that it is enough.
///
/// `membership` is asked for with the folder's own id: who receives into one folder is one receiver.
///
/// # Errors
/// What ended it before.
pub fn receive(
    folder: &Path,
    membership: impl FnOnce(ReceiverId) -> Membership,
    options: &ReceiveOptions,
    mut look: impl FnMut(ReceiveEvent) -> ControlFlow<()>,
) -> Result<(), ReceiveError> {
    let failed = |error| ReceiveError::Socket { group: options.group, error };
    let mut node = Node::new(folder, membership(receiver_id(folder)?), options)?;
    let listen = Socket::listening(options.group, &options.interfaces).map_err(failed)?;
    let answer = Socket::answering(options.group.ip()).map_err(failed)?;
    let mut inbox = Inbox::new();
    while !options.stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        for socket in [&answer, &listen] {
            for _ in 0..TURNS {
                let take = |datagram: &mut [u8], from| node.handle(now, datagram, from);
                if socket.receive(&mut inbox, take).map_err(failed)? == 0 {
                    break;
                }
            }
        }
        node.work_done(now);
        node.tick(now, &listen);
        if node.drain(&answer) {
            rejoin(&listen, options);
        }
        for event in std::mem::take(&mut node.news) {
            if look(event).is_break() {
                return Ok(());
            }
        }
        let due = node.next(now).saturating_duration_since(Instant::now());
        wait(&[listen.as_fd(), answer.as_fd(), node.worker.bell().as_fd()], due).map_err(failed)?;
    }
    Ok(())
}

struct Node<'a> {
    folder: &'a Path,
    options: &'a ReceiveOptions,
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
    news: Vec<ReceiveEvent>,
}

impl<'a> Node<'a> {
    fn new(
        folder: &'a Path,
        membership: Membership,
        options: &'a ReceiveOptions,
    ) -> Result<Self, ReceiveError> {
        let path = folder.join(RESERVED).join("versions");
        let versions = Versions::open(path.clone()).map_err(|error| StoreError::Io { path, error })?;
        let worker = Worker::start().map_err(|error| StoreError::Io { path: folder.to_owned(), error })?;
        let now = Instant::now();
        Ok(Self {
            folder,
            options,
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
    fn handle(&mut self, now: Instant, datagram: &mut [u8], from: SocketAddr) {
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
        let config = Config { label: self.options.label.clone(), seed, ..Config::default() };
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
        let is_over = self.options.clock.is_some_and(|clock| manifest.expires <= clock());
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
    fn work_done(&mut self, now: Instant) {
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

    /// Does what is due.
    fn tick(&mut self, now: Instant, listen: &Socket) {
        let is_time = now.saturating_duration_since(self.ticked) >= TICK;
        if is_time {
            self.ticked = now;
        }
        let overruns = if is_time { listen.drops() } else { 0 };
        for session in &mut self.sessions {
            if is_time {
                session.core.handle_input(now, Input::Overruns(overruns));
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
    fn drain(&mut self, answer: &Socket) -> bool {
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
    fn next(&mut self, now: Instant) -> Instant {
        let idle = now + Duration::from_secs(1);
        let tick = if self.sessions.is_empty() { idle } else { self.ticked + TICK };
        self.sessions.iter_mut().filter_map(|session| session.core.poll_timeout()).fold(tick, Instant::min)
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

/// Leaves the group and joins it again, so that switches hear of it.
fn rejoin(listen: &Socket, options: &ReceiveOptions) {
    for interface in &options.interfaces {
        // An interface that is away has left by itself.
        let _ = listen.leave(options.group.ip(), interface);
        if let Err(error) = listen.join(options.group.ip(), interface) {
            tracing::warn!(%error, interface = interface.name, "cannot join the group again");
        }
    }
}

/// Batches taken before anything else is done.
const TURNS: usize = 8;
/// As often as a progress bar moves, and as overruns are counted.
const TICK: Duration = Duration::from_millis(100);
/// Before the disk is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Sessions that are remembered when they are over.
const PAST: usize = 256;
