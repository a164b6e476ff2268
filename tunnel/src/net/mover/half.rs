//! One direction of a join.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::buffer::Buffer;
use super::hush::Hush;

/// Reads from one end, writes to the other, and passes the end of the stream on.
pub(super) struct Half {
    state: State,
    hush: Hush,
}

/// What the direction waits for.
enum State {
    /// Bytes to read; `unflushed` when the writer may still hold some of what it took.
    Reading { unflushed: bool },
    /// The writer, to take these.
    Writing(Buffer),
    /// The writer, to pass on the end of the stream.
    Ending,
    /// Nothing more.
    Ended,
}

/// An end of the direction was reset, or its stream ended in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

impl Half {
    pub(super) fn new() -> Self {
        Self { state: State::Reading { unflushed: false }, hush: Hush::default() }
    }

    /// Moves what can be moved now, at most [`BUDGET`] bytes, which are added to `moved`; ready once the stream has
    /// ended.
    pub(super) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        moved: &AtomicU64,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut turn = 0;
        while turn < BUDGET {
            match &mut self.state {
                State::Reading { unflushed } => match read(cx, reader) {
                    Poll::Ready(Ok(Some(buffer))) => self.state = State::Writing(buffer),
                    Poll::Ready(Ok(None)) => self.state = State::Ending,
                    Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                    Poll::Pending => {
                        if *unflushed {
                            ready!(Pin::new(writer).poll_flush(cx)).map_err(|_| Broken)?;
                            *unflushed = false;
                        }
                        self.hush.want(false);
                        return Poll::Pending;
                    }
                },
                State::Writing(buffer) => {
                    self.hush.want(true);
                    let taken = ready!(Pin::new(&mut *writer).poll_write(cx, buffer.pending()));
                    let taken = taken.ok().filter(|taken| *taken > 0).ok_or(Broken)?;
                    buffer.taken(taken);
                    turn += taken;
                    moved.fetch_add(taken as u64, Ordering::Relaxed);
                    if buffer.pending().is_empty() {
                        self.state = State::Reading { unflushed: true };
                    }
                }
                State::Ending => {
                    // Not every writer's shutdown flushes: standard output's does not.
                    ready!(Pin::new(&mut *writer).poll_flush(cx)).map_err(|_| Broken)?;
                    ready!(Pin::new(&mut *writer).poll_shutdown(cx)).map_err(|_| Broken)?;
                    self.state = State::Ended;
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
        // The turn is over, not the work.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Has the reader's socket, where there is one, be silent while the writer has to take bytes first.
    pub(super) fn hush(&mut self, reader: Option<&TcpStream>) {
        if let Some(reader) = reader {
            self.hush.apply(reader);
        }
    }
}

/// Reads what is there; `None` at the clean end of the stream.
fn read<R: AsyncRead + Unpin>(cx: &mut Context<'_>, reader: &mut R) -> Poll<Result<Option<Buffer>, Broken>> {
    let mut buffer = Buffer::borrow();
    let mut space = ReadBuf::new(buffer.space());
    // TLS reports an end without close_notify as an error, a socket a reset: both are broken, not ended.
    ready!(Pin::new(reader).poll_read(cx, &mut space)).map_err(|_| Broken)?;
    let length = space.filled().len();
    buffer.filled(length);
    Poll::Ready(Ok((length > 0).then_some(buffer)))
}

/// Most bytes of one direction in one turn: a bulk stream leaves room for the keystrokes of its neighbours. Less than a
/// relay's turn, since every byte is encrypted in it.
const BUDGET: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io;

    use super::*;

    #[tokio::test]
    async fn the_last_bytes_are_flushed_before_the_end_is_passed_on() {
        let (moved, mut writer) = (AtomicU64::new(0), Lazy::default());
        let (mut half, mut reader) = (Half::new(), &b"last words"[..]);
        poll_fn(|cx| half.poll(cx, &mut reader, &mut writer, &moved)).await.unwrap();
        assert_eq!(writer.flushed, b"last words");
    }

    /// Keeps what is written until it is flushed, and loses it when it is shut down before.
    #[derive(Default)]
    struct Lazy {
        written: Vec<u8>,
        flushed: Vec<u8>,
    }

    impl AsyncWrite for Lazy {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.written.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let written = std::mem::take(&mut self.written);
            self.flushed.extend(written);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.written.clear();
            Poll::Ready(Ok(()))
        }
    }
}
