//! Receives whatever is sent to a group into a folder.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::Membership;
use super::event::ReceiveEvent;
use super::interface::Interface;
use super::node::Node;
use super::room::wait;
use super::socket::{Inbox, Socket};
use super::store::{StoreError, receiver_id};
use crate::id::ReceiverId;

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
    let membership = membership(receiver_id(folder)?);
    let mut node = Node::new(folder, membership, &options.label, options.clock)?;
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
