//! What a decompressor gives, and when that is too much.

use std::io::{self, Read};

use super::error::Reason;

/// What comes out of a decompressor, as long as it stays in proportion to what went in.
pub(super) struct Unpacked<R> {
    input: R,
    rest: u64,
    most: u64,
}

/// What an [`Unpacked`] fails with.
#[derive(Debug, thiserror::Error)]
#[error("unpacks to more than {0} bytes")]
struct Bomb(u64);

impl<R> Unpacked<R> {
    pub(super) fn new(input: R, packed: u64) -> Self {
        let most = packed.saturating_mul(RATIO_MOST).max(UNPACKED_ALWAYS);
        Self { input, rest: most, most }
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.rest = self.rest.checked_sub(read as u64).ok_or_else(|| io::Error::other(Bomb(self.most)))?;
        Ok(read)
    }
}

/// Whether reading failed because of what it would unpack to.
pub(super) fn bomb(error: &io::Error) -> Option<Reason> {
    let bomb = error.get_ref()?.downcast_ref::<Bomb>()?;
    Some(Reason::Bomb(bomb.0))
}

/// Lists of hashes pack to a half, of addresses to a tenth; nothing honest to a hundredth.
const RATIO_MOST: u64 = 100;

/// Small files may repeat themselves: a few megabytes do no harm.
const UNPACKED_ALWAYS: u64 = 16 * 1024 * 1024;
