//! `splice(2)` between a socket and a pipe, and whether it can be trusted here.

use std::io;

use tokio::net::TcpStream;

use super::pipe::Pipe;

/// Moves what the socket has into the empty pipe; 0 at the end of the stream.
#[cfg(target_os = "linux")]
pub(super) fn into_pipe(socket: &TcpStream, pipe: &mut Pipe) -> io::Result<usize> {
    let moved = rustix::pipe::splice(socket, None, pipe.write_end(), None, pipe.capacity(), FLAGS)?;
    pipe.filled(moved);
    Ok(moved)
}

/// Moves what the pipe holds into the socket.
#[cfg(target_os = "linux")]
pub(super) fn from_pipe(pipe: &mut Pipe, socket: &TcpStream) -> io::Result<usize> {
    let moved = rustix::pipe::splice(pipe.read_end(), None, socket, None, pipe.held(), FLAGS)?;
    if moved == 0 {
        // Bytes that were counted into the pipe are not in it.
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    pipe.taken(moved);
    Ok(moved)
}

/// Sends a megabyte over loopback through a pipe and compares it. Some systems refuse `splice`, gVisor among them.
///
/// # Errors
/// What does not work.
#[cfg(target_os = "linux")]
pub async fn works() -> io::Result<()> {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::{Means, Relayed, Stop};
    use crate::net::mover::Flow;
    use crate::pair::PairLimits;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (mut left, initiator) = (TcpStream::connect(address).await?, listener.accept().await?.0);
    let (mut right, target) = (TcpStream::connect(address).await?, listener.accept().await?.0);
    let sent: Vec<u8> = (0..=250).cycle().take(TRIAL).collect();
    let means = Arc::new(Means::new(true));
    let limits = PairLimits { idle: TRIAL_TIME, linger: TRIAL_TIME, deadline: None, rate: None };
    let flow = Flow::default();
    let relayed = Relayed::new(initiator, target, Arc::clone(&means));
    let trial = async {
        let writing = async {
            left.write_all(&sent).await?;
            left.shutdown().await
        };
        let mut received = Vec::new();
        tokio::try_join!(writing, right.read_to_end(&mut received))?;
        Ok::<_, io::Error>(received)
    };
    let received = tokio::select! {
        received = trial => received?,
        _ = Box::new(relayed).run(&limits, &flow, std::future::pending::<Stop>()) => {
            return Err(io::Error::other("the pair of the trial ended"));
        }
    };
    match received == sent && means.spliced() > 0 {
        true => Ok(()),
        false => Err(io::Error::other("bytes were lost or not spliced at all")),
    }
}

/// Pages are moved where the kernel can, and nothing waits. Never `SPLICE_F_MORE`: it corks the socket, and the last
/// bytes of an answer wait for the cork's time-out at each hop.
#[cfg(target_os = "linux")]
pub(super) const FLAGS: rustix::pipe::SpliceFlags =
    rustix::pipe::SpliceFlags::MOVE.union(rustix::pipe::SpliceFlags::NONBLOCK);
/// Bytes of the trial: several pipes full.
#[cfg(target_os = "linux")]
const TRIAL: usize = 1024 * 1024;
#[cfg(target_os = "linux")]
const TRIAL_TIME: std::time::Duration = std::time::Duration::from_secs(5);

/// Only Linux has it.
#[cfg(not(target_os = "linux"))]
pub(super) fn into_pipe(_: &TcpStream, _: &mut Pipe) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Only Linux has it.
#[cfg(not(target_os = "linux"))]
pub(super) fn from_pipe(_: &mut Pipe, _: &TcpStream) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Only Linux has it.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub async fn works() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
