//! Pipes of a thread: borrowed while there is bulk to move.
//!
//! A pipe is worth having only at its full size. An unprivileged user may have a few hundred (pipe(7),
//! `pipe-user-pages-soft`); after that the kernel silently hands out pipes of 8 KiB, which are worse than a copy. So each
//! is asked for its size, and one that is too small is given back.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::residue::Residue;

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub(super) struct Pipe {
    /// Taken out only when the pipe is dropped or taken apart.
    ends: Option<Ends>,
    /// What it was made for; `None` when it was made elsewhere.
    size: Option<Size>,
    held: usize,
}

/// How large a pipe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// 256 KiB: two thirds of the cost of the kernel's default pipe are saved.
    Usual,
    /// 1 MiB, the most an unprivileged user may have: for long flows, above all of small segments, since a pipe's room
    /// is counted in segments.
    Large,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    /// Borrows an empty pipe from the thread's pool; `None` when there is none to be had, and a copy must do.
    pub(super) fn borrow(size: Size) -> Option<Self> {
        let pooled = POOL.with_borrow_mut(|pool| pool.take(size));
        let ends = pooled.or_else(|| POOL.with_borrow_mut(|pool| pool.open(size)))?;
        Some(Self { ends: Some(ends), size: Some(size), held: 0 })
    }

    /// The pipe's ends, and how many bytes are between them.
    pub(super) fn into_residue(mut self) -> Residue {
        let Ends { read, write } = self.ends.take().expect("only taken when dropped or taken apart");
        ALIVE.fetch_sub(1, Ordering::Relaxed);
        Residue { read, write, held: self.held }
    }

    /// Bytes in the pipe.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Notes that `length` bytes were put into the pipe.
    pub(super) fn filled(&mut self, length: usize) {
        self.held += length;
    }

    /// Notes that `length` bytes were taken out of the pipe.
    pub(super) fn taken(&mut self, length: usize) {
        self.held -= length;
    }

    /// Most bytes the pipe can hold.
    pub(super) fn capacity(&self) -> usize {
        self.size.map_or(0, Size::bytes)
    }

    pub(super) fn read_end(&self) -> BorrowedFd<'_> {
        self.ends.as_ref().expect("only taken when dropped or taken apart").read.as_fd()
    }

    pub(super) fn write_end(&self) -> BorrowedFd<'_> {
        self.ends.as_ref().expect("only taken when dropped or taken apart").write.as_fd()
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take() else { return };
        // One that holds bytes of a stream must never carry another's.
        let size = self.size.filter(|_| self.held == 0);
        // Late in a thread's life the pool may be gone.
        let keep = |size| POOL.try_with(|pool| pool.borrow_mut().keep(size, ends)).unwrap_or(false);
        if !size.is_some_and(keep) {
            ALIVE.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl From<Residue> for Pipe {
    /// A pipe made elsewhere: it is emptied, and never filled or pooled.
    fn from(Residue { read, write, held }: Residue) -> Self {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Self { ends: Some(Ends { read, write }), size: None, held }
    }
}

impl Size {
    const fn bytes(self) -> usize {
        match self {
            Self::Usual => 256 * 1024,
            Self::Large => 1024 * 1024,
        }
    }
}

/// Pipes that wait for work.
#[derive(Debug)]
struct Pool {
    usual: Vec<Ends>,
    large: Vec<Ends>,
    /// The system had none to give: it is not asked again before this.
    dry_until: Option<Instant>,
}

impl Pool {
    fn take(&mut self, size: Size) -> Option<Ends> {
        self.of(size).pop()
    }

    fn open(&mut self, size: Size) -> Option<Ends> {
        if self.dry_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        if ALIVE.fetch_add(1, Ordering::Relaxed) < ALIVE_LIMIT
            && let Ok(ends) = open(size.bytes())
        {
            return Some(ends);
        }
        ALIVE.fetch_sub(1, Ordering::Relaxed);
        self.dry_until = Some(Instant::now() + DRY);
        None
    }

    /// Whether there was room to keep it.
    fn keep(&mut self, size: Size, ends: Ends) -> bool {
        let free = self.of(size);
        let room = free.len() < POOLED;
        if room {
            free.push(ends);
        }
        room
    }

    fn of(&mut self, size: Size) -> &mut Vec<Ends> {
        match size {
            Size::Usual => &mut self.usual,
            Size::Large => &mut self.large,
        }
    }
}

#[cfg(target_os = "linux")]
fn open(bytes: usize) -> io::Result<Ends> {
    let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
    let (read, write) = rustix::pipe::pipe_with(flags)?;
    rustix::pipe::fcntl_setpipe_size(&write, bytes)?;
    match rustix::pipe::fcntl_getpipe_size(&write)? >= bytes {
        true => Ok(Ends { read, write }),
        false => Err(io::ErrorKind::QuotaExceeded.into()),
    }
}

/// Elsewhere nothing can be spliced into a pipe.
#[cfg(not(target_os = "linux"))]
fn open(_bytes: usize) -> io::Result<Ends> {
    Err(io::ErrorKind::Unsupported.into())
}

thread_local! {
    static POOL: RefCell<Pool> =
        const { RefCell::new(Pool { usual: Vec::new(), large: Vec::new(), dry_until: None }) };
}

/// Pipes of this process, pooled or in use. Their pages belong to no socket's account, so this is also a bound of memory.
static ALIVE: AtomicUsize = AtomicUsize::new(0);
/// Most pipes: two descriptors each, a small part of what tunnels need, and more than can move bytes at one time unless
/// as many readers are slow. Above it bytes are copied.
const ALIVE_LIMIT: usize = 512;
/// Most pipes of one size that a thread keeps for later.
const POOLED: usize = 32;
/// How long the system is left alone after it had no pipe to give.
const DRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_holds_bytes_is_never_pooled() {
        let pipe = Pipe::borrow(Size::Usual).unwrap();
        let first = pipe.read_end().try_clone_to_owned().unwrap();
        drop(pipe);
        let mut again = Pipe::borrow(Size::Usual).unwrap();
        assert!(same(&again, &first), "an empty one is");
        again.filled(1);
        drop(again);
        assert!(!same(&Pipe::borrow(Size::Usual).unwrap(), &first));
    }

    #[test]
    fn a_pipe_has_the_size_it_is_named_for() {
        for size in [Size::Usual, Size::Large] {
            let pipe = Pipe::borrow(size).unwrap();
            assert!(rustix::pipe::fcntl_getpipe_size(pipe.write_end()).unwrap() >= size.bytes());
        }
    }

    fn same(pipe: &Pipe, other: &OwnedFd) -> bool {
        let inode = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).unwrap().st_ino;
        inode(pipe.read_end()) == inode(other.as_fd())
    }
}
