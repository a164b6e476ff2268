//! What lies between two sockets and is still the kernel's.

use std::os::fd::OwnedFd;

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
