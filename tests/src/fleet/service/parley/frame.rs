//! One frame: a length, and as many bytes of a stream that both ends know.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::sim::Rng;

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The bytes that were expected.
    Frame,
    /// The closing frame.
    Closing,
    /// Bytes that were not.
    Other,
    /// The end of the stream, between two frames or in the middle of one.
    End,
}

/// Says the next so many bytes of the stream; none at all is the closing frame.
pub(super) fn say(mut stream: &TcpStream, source: &mut Rng, length: usize) -> io::Result<()> {
    let header = u32::try_from(length).map_err(io::Error::other)?.to_be_bytes();
    let mut frame = header.to_vec();
    frame.resize(header.len() + length, 0);
    source.fill(frame.get_mut(header.len()..).unwrap_or_default());
    stream.write_all(&frame)
}

/// Reads one frame and compares it with what should come next.
pub(super) fn hear(mut stream: &TcpStream, expected: &mut Rng) -> io::Result<Heard> {
    let mut header = [0; 4];
    if let Some(end) = ended(stream.read_exact(&mut header))? {
        return Ok(end);
    }
    let length = usize::try_from(u32::from_be_bytes(header)).map_err(io::Error::other)?;
    if length == 0 {
        return Ok(Heard::Closing);
    }
    if length > LARGEST {
        return Ok(Heard::Other);
    }
    let (mut came, mut wanted) = (vec![0; length], vec![0; length]);
    if let Some(end) = ended(stream.read_exact(&mut came))? {
        return Ok(end);
    }
    expected.fill(&mut wanted);
    Ok(if came == wanted { Heard::Frame } else { Heard::Other })
}

fn ended(read: io::Result<()>) -> io::Result<Option<Heard>> {
    match read {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Some(Heard::End)),
        Err(error) => Err(error),
    }
}

/// Most bytes of one frame.
pub(super) const LARGEST: usize = 64 * 1024;
