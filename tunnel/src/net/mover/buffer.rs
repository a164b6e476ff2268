//! Buffers of a thread: borrowed while there is something to move.

use std::cell::RefCell;

/// Bytes read in one direction that its writer has not taken yet.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Borrows an empty buffer from the thread's pool.
    pub(super) fn borrow() -> Self {
        let pooled = POOL.with_borrow_mut(Vec::pop);
        let bytes = pooled.unwrap_or_else(|| vec![0; CAPACITY].into_boxed_slice());
        Self { bytes, start: 0, end: 0 }
    }

    /// A buffer that holds these bytes, of whatever length.
    pub(super) fn holding(bytes: Vec<u8>) -> Self {
        Self { start: 0, end: bytes.len(), bytes: bytes.into_boxed_slice() }
    }

    /// Where to read to; only of an empty buffer.
    pub(super) fn space(&mut self) -> &mut [u8] {
        debug_assert_eq!(self.start, self.end, "a buffer is filled only once it is empty");
        (self.start, self.end) = (0, 0);
        &mut self.bytes
    }

    /// Notes that `length` bytes were read to [`Buffer::space`].
    pub(super) fn filled(&mut self, length: usize) {
        self.end = length;
    }

    /// The bytes still to be written.
    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Notes that `length` of the pending bytes were written.
    pub(super) fn taken(&mut self, length: usize) {
        self.start += length;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        // Late in a thread's life the pool may be gone: then the buffer is freed.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if bytes.len() == CAPACITY && pool.len() < POOLED {
                pool.push(bytes);
            }
        });
    }
}

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes of a buffer: four times the CPU cost of a byte is saved against the usual 8 KiB, little more beyond.
const CAPACITY: usize = 64 * 1024;
/// Most buffers a thread keeps for later: 1 MiB.
const POOLED: usize = 16;
