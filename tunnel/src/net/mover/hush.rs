//! Keeps a socket from waking its task for bytes that nobody can take yet.
//!
//! While a direction waits for its writer, what arrives stays in the reader's socket. The reactor is told of changes
//! (edge-triggered epoll), so every segment that arrives there would wake the thread, look for work and find none:
//! twenty times, over loopback, before the writer has room again.

use tokio::net::TcpStream;

use crate::net::socket;

/// Whether a direction's reader is silent, and whether it ought to be.
#[derive(Debug, Default)]
pub(super) struct Hush {
    on: bool,
    wanted: bool,
}

impl Hush {
    /// Notes what the direction would wait for now: its writer (`true`) or its reader. Only what it has come to at the
    /// end of a turn is applied, so that neither a keystroke nor a flow that always waits for its writer costs a call.
    pub(super) fn want(&mut self, on: bool) {
        self.wanted = on;
    }

    /// Has the reader's socket do as was noted.
    pub(super) fn apply(&mut self, reader: &TcpStream) {
        if self.on != self.wanted {
            self.on = self.wanted;
            socket::hush(reader, self.on);
        }
    }
}
