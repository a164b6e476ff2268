//! Who sends to a group: whoever has one for itself hears of others there.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::interface::Interface;
use super::room::wait;
use super::socket::{Inbox, Socket};

/// Tells of every datagram that is sent to the group, whatever it is, until `stop` is set; its own among them, so nobody
/// should watch a group and send to it at once.
///
/// # Errors
/// What the system says.
pub fn watch(
    group: SocketAddr,
    interfaces: &[Interface],
    stop: &AtomicBool,
    mut look: impl FnMut(SocketAddr),
) -> io::Result<()> {
    let (socket, mut inbox) = (Socket::listening(group, interfaces)?, Inbox::new());
    while !stop.load(Ordering::Relaxed) {
        while socket.receive(&mut inbox, |_, from| look(from))? > 0 && !stop.load(Ordering::Relaxed) {}
        wait(&[socket.as_fd()], PACE)?;
    }
    Ok(())
}

/// How soon it is noticed that `stop` is set.
const PACE: Duration = Duration::from_millis(250);
