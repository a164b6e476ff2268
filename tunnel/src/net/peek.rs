//! Looks at the first record of a connection without taking it.
//!
//! A hello may come in any number of segments. A peek that finds too little must not report the socket as ready
//! again, or the task spins while the peer stalls: the peek runs inside `try_io` and returns `WouldBlock`, so the
//! reactor waits for the next edge. The runtime never forgets that a peer has closed, so a hello that is incomplete
//! *and* closed ends at once.

use std::io;
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;

use crate::hello::{self, Hello, HelloError, Parsed};

/// Waits for the whole first record and reads it as a ClientHello; its bytes stay in the socket.
///
/// # Errors
/// [`PeekError`] when it is no ClientHello, or is not complete within `timeout`.
pub async fn first_hello(stream: &TcpStream, timeout: Duration) -> Result<Hello, PeekError> {
    match tokio::time::timeout(timeout, peek(stream, &mut 0)).await {
        Ok(result) => result,
        Err(_) => Err(PeekError::Late(timeout)),
    }
}

/// Takes exactly the `length` bytes of a record that [`first_hello`] has seen off the socket.
///
/// # Errors
/// When the socket fails.
pub async fn consume(stream: &mut TcpStream, length: usize) -> io::Result<()> {
    let mut record = vec![0; length.min(hello::RECORD_LIMIT)];
    stream.read_exact(&mut record).await?;
    Ok(())
}

/// Why a connection's first record is of no use.
#[derive(Debug, thiserror::Error)]
pub enum PeekError {
    /// The record is no ClientHello.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// The peer sent too little in time.
    #[error("no complete hello within {0:?}")]
    Late(Duration),
    /// The peer closed before the record was complete.
    #[error("closed before the hello was complete")]
    Closed,
    /// As many connections as may be are without a first flight.
    #[error("too many connections without a first flight")]
    Crowded,
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Io(#[from] io::Error),
}

/// Counts in `wakes` how often it looked.
async fn peek(stream: &TcpStream, wakes: &mut u32) -> Result<Hello, PeekError> {
    let mut buffer = [0; hello::RECORD_LIMIT];
    loop {
        let closed = stream.ready(Interest::READABLE).await?.is_read_closed();
        *wakes += 1;
        let look = || {
            let (seen, _) = rustix::net::recv(stream, &mut buffer[..], RecvFlags::PEEK)?;
            match hello::parse(&buffer[..seen]) {
                Ok(Parsed::Incomplete) => Err(io::ErrorKind::WouldBlock.into()),
                Ok(Parsed::Hello(hello)) => Ok(Ok(hello)),
                Err(error) => Ok(Err(error)),
            }
        };
        match stream.try_io(Interest::READABLE, look) {
            Ok(result) => return Ok(result?),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.into()),
            // All that came before the close was in the buffer when we looked.
            Err(_) if closed => return Err(PeekError::Closed),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
