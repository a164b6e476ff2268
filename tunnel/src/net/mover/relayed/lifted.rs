//! A pair between two movers: everything that lies between its sockets, as bytes and descriptors that can be handed on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::half::{Half, State};
use super::pipe::Pipe;
use super::residue::Residue;
use super::{Means, Relayed};
use crate::net::mover::buffer::Buffer;

/// A pair that no mover holds. Dropping it closes both sockets, and what was between them is lost.
#[derive(Debug)]
pub struct Lifted {
    /// The operator's side.
    pub initiator: std::net::TcpStream,
    /// The device's side.
    pub target: std::net::TcpStream,
    /// To the target.
    pub there: LiftedHalf,
    /// To the initiator.
    pub back: LiftedHalf,
    /// How long nothing has moved.
    pub silent: Duration,
}

/// One direction of a lifted pair.
#[derive(Debug)]
pub enum LiftedHalf {
    /// Nothing was under way.
    Open,
    /// One socket gave these bytes, and the other has not taken them.
    Copied(Vec<u8>),
    /// The same of bytes that are still the kernel's.
    Spliced(Residue),
    /// The end of its stream was passed on.
    Ended,
}

impl Lifted {
    /// Closes both sockets by a reset, so that nobody takes the stream for whole.
    pub fn reset(self) {
        for socket in [&self.initiator, &self.target] {
            // A socket that refuses this is dead already.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Relayed {
    /// Takes the pair apart.
    pub(super) fn lift(self, silent: Duration) -> io::Result<Lifted> {
        let Self { initiator, target, mut there, mut back, .. } = self;
        there.unhush(&initiator);
        back.unhush(&target);
        let (there, back) = (there.lift(), back.lift());
        Ok(Lifted { initiator: initiator.into_std()?, target: target.into_std()?, there, back, silent })
    }

    /// Puts a lifted pair together, on the current runtime.
    ///
    /// # Errors
    /// When the runtime does not take a socket; both are closed then.
    pub fn resume(lifted: Lifted, means: Arc<Means>) -> io::Result<Self> {
        let Lifted { initiator, target, there, back, silent } = lifted;
        for socket in [&initiator, &target] {
            socket.set_nonblocking(true)?;
        }
        let sockets = (TcpStream::from_std(initiator)?, TcpStream::from_std(target)?);
        let (there, back) = (Half::resume(there), Half::resume(back));
        Ok(Self { there, back, silent, ..Self::new(sockets.0, sockets.1, means) })
    }
}

impl LiftedHalf {
    /// Bytes read and not yet written.
    pub fn held(&self) -> usize {
        match self {
            Self::Open | Self::Ended => 0,
            Self::Copied(bytes) => bytes.len(),
            Self::Spliced(residue) => residue.held,
        }
    }
}

impl Half {
    fn lift(self) -> LiftedHalf {
        match self.state {
            State::Reading => LiftedHalf::Open,
            State::Copying(buffer) => LiftedHalf::Copied(buffer.pending().to_vec()),
            State::Splicing(pipe) => LiftedHalf::Spliced(pipe.into_residue()),
            State::Ended => LiftedHalf::Ended,
        }
    }

    fn resume(lifted: LiftedHalf) -> Self {
        Self::in_state(match lifted {
            LiftedHalf::Open => State::Reading,
            LiftedHalf::Copied(bytes) => State::Copying(Buffer::holding(bytes)),
            LiftedHalf::Spliced(residue) => State::Splicing(Pipe::from(residue)),
            LiftedHalf::Ended => State::Ended,
        })
    }
}
