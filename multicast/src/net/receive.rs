//! Receives whatever is sent to a group into a folder.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Membership;
use super::interface::Interface;
use super::node::Node;
use super::room::wait;
use super::socket::{Inbox, Socket};
use super::store::{StoreError, receiver_id};
use crate::id::{ReceiverId, SessionId};
use crate::manifest::{Manifest, ManifestError};

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
        node.weigh(now, listen.memory());
        node.drain(&answer);
        for socket in [&answer, &listen] {
            for _ in 0..TURNS {
                let take = |datagram: &mut [u8], from| node.handle(now, datagram, from);
                if socket.receive(&mut inbox, take).map_err(failed)? == 0 {
                    break;
                }
            }
        }
        node.work_done(now);
        node.tick(now);
        if node.drain(&answer) {
            rejoin(&listen, options);
        }
        for event in std::mem::take(&mut node.news) {
            if look(event).is_break() {
                return Ok(());
            }
        }
        let due = node.next(now).saturating_duration_since(Instant::now());
        wait(&[listen.as_fd(), answer.as_fd(), node.bell()], due).map_err(failed)?;
    }
    Ok(())
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
