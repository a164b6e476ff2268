//! Whose process is at the other end of a local connection.
//!
//! A port on the loopback is open to every user of the machine; a tunnel is not. The kernel knows the user that each
//! socket belongs to.

#[cfg(target_os = "linux")]
mod diag;
mod table;

use std::io;
use std::net::SocketAddr;

use super::args::Show;

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Processes of this process's own user.
    SameUser,
    /// Everyone on this machine.
    AnyUser,
}

/// Why a local connection was turned away.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stranger {
    #[error("it belongs to user {0}; --any-user would accept it")]
    OtherUser(u32),
    #[error("nobody knows whose it is: it has closed already")]
    Unknown,
    #[error("cannot find out whose it is: {0}; --any-user would accept it")]
    Unreadable(#[from] io::Error),
}

impl Admission {
    /// As the user wants it.
    pub(super) const fn of(show: Show) -> Self {
        if show.any_user { Self::AnyUser } else { Self::SameUser }
    }

    /// Admits a connection from `client` to our own `local` address.
    ///
    /// # Errors
    /// [`Stranger`] says why not.
    pub(super) fn check(self, client: SocketAddr, local: SocketAddr) -> Result<(), Stranger> {
        if self == Self::AnyUser {
            return Ok(());
        }
        match owner(client, local)? {
            Some(user) if user == own_user() => Ok(()),
            Some(user) => Err(Stranger::OtherUser(user)),
            None => Err(Stranger::Unknown),
        }
    }
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The user whose socket is bound to `client` and connected to `local`.
fn owner(client: SocketAddr, local: SocketAddr) -> io::Result<Option<u32>> {
    #[cfg(target_os = "linux")]
    match diag::owner(client, local) {
        Ok(Some(user)) => return Ok(Some(user)),
        // It says so as well when it does not answer for TCP.
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "the kernel is not asked about one socket"),
    }
    table::owner(client, local)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_of_ones_own_is_admitted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        Admission::SameUser.check(peer, accepted.local_addr().unwrap()).unwrap();
        drop(client);
        let gone = Admission::SameUser.check(peer, accepted.local_addr().unwrap());
        assert!(matches!(gone, Err(Stranger::Unknown)), "{gone:?}");
        Admission::AnyUser.check(peer, accepted.local_addr().unwrap()).unwrap();
    }
}
