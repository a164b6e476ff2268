//! A pair between two movers: everything that lies between its sockets, as descriptors that can be handed on.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::half::{Half, State};
use super::pipe::Pipe;
use super::{Means, Relayed};

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
}

/// One direction of a lifted pair.
#[derive(Debug)]
pub enum LiftedHalf {
    /// Nothing was under way.
    Open,
    /// One socket gave this, and the other has not taken it.
    Holding(Residue),
    /// The end of its stream was passed on.
    Ended,
}

/// Bytes of a stream, in a pipe.
#[derive(Debug)]
pub struct Residue {
    /// The pipe's end to read from.
    pub read: OwnedFd,
    /// Its end to write to.
    pub write: OwnedFd,
    /// How many bytes are in it.
    pub held: usize,
}

impl Relayed {
    /// Takes the pair apart.
    pub(super) fn lift(self) -> io::Result<Lifted> {
        let Self { initiator, target, there, back, .. } = self;
        let (there, back) = (there.lift()?, back.lift()?);
        Ok(Lifted { initiator: initiator.into_std()?, target: target.into_std()?, there, back })
    }

    /// Puts a lifted pair together, on the current runtime.
    ///
    /// # Errors
    /// When the runtime does not take a socket; both are closed then.
    pub fn resume(lifted: Lifted, means: Arc<Means>) -> io::Result<Self> {
        let Lifted { initiator, target, there, back } = lifted;
        for socket in [&initiator, &target] {
            socket.set_nonblocking(true)?;
        }
        let sockets = (TcpStream::from_std(initiator)?, TcpStream::from_std(target)?);
        let (there, back) = (Half::resume(there), Half::resume(back));
        Ok(Self { there, back, ..Self::new(sockets.0, sockets.1, means) })
    }
}

impl Half {
    fn lift(self) -> io::Result<LiftedHalf> {
        Ok(match self.state {
            State::Reading => LiftedHalf::Open,
            State::Ended => LiftedHalf::Ended,
            State::Splicing(pipe) => LiftedHalf::Holding(pipe.into_residue()),
            State::Copying(buffer) => LiftedHalf::Holding(Pipe::of(buffer.pending())?.into_residue()),
        })
    }

    fn resume(lifted: LiftedHalf) -> Self {
        Self::in_state(match lifted {
            LiftedHalf::Open => State::Reading,
            LiftedHalf::Ended => State::Ended,
            LiftedHalf::Holding(residue) => State::Splicing(Pipe::from(residue)),
        })
    }
}
