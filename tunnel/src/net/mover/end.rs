//! What a join can have at its ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, Stdin, Stdout};
use tokio::net::TcpStream;

use crate::net::socket;

/// A stream that can also be ended by a reset.
pub trait End: AsyncRead + AsyncWrite + Unpin {
    /// Makes the close that follows a reset, where the stream knows one.
    fn close_by_reset(&mut self);

    /// Makes every close a reset until [`End::close_in_order`]: also the kernel's, when this process is killed. Only a
    /// stream has to that knows no other difference between an end and a cut.
    fn arm(&mut self) {}

    /// Makes the close that follows an orderly one, which whoever reads slowly still gets every byte before.
    fn close_in_order(&mut self) {
        if let Some(socket) = self.socket() {
            socket::close_in_order(socket);
        }
    }

    /// The socket under it, where there is one.
    fn socket(&self) -> Option<&TcpStream>;
}

impl End for TcpStream {
    fn close_by_reset(&mut self) {
        socket::close_by_reset(self);
    }

    fn arm(&mut self) {
        socket::close_by_reset(self);
    }

    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl End for tokio_rustls::client::TlsStream<TcpStream> {
    fn close_by_reset(&mut self) {
        // Dropped without close_notify: the other end sees that the stream was cut.
        socket::close_by_reset(self.get_ref().0);
    }

    fn socket(&self) -> Option<&TcpStream> {
        Some(self.get_ref().0)
    }
}

impl End for tokio_rustls::server::TlsStream<TcpStream> {
    fn close_by_reset(&mut self) {
        socket::close_by_reset(self.get_ref().0);
    }

    fn socket(&self) -> Option<&TcpStream> {
        Some(self.get_ref().0)
    }
}

/// This process's standard input and output as one stream.
pub struct Stdio {
    input: Stdin,
    output: Stdout,
    /// Completes when whoever is at the other end of the pipes has gone; `None` once it has.
    hangup: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Stdio {
    /// Takes both; nothing else should read or write them from now on.
    ///
    /// After `hangup` the input has ended and the output takes whatever comes: what is left of the connection can be
    /// closed in order.
    pub fn new(hangup: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { input: tokio::io::stdin(), output: tokio::io::stdout(), hangup: Some(Box::pin(hangup)) }
    }

    fn hung_up(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(hangup) = &mut self.hangup
            && hangup.as_mut().poll(cx).is_ready()
        {
            self.hangup = None;
        }
        self.hangup.is_none()
    }
}

impl End for Stdio {
    /// Pipes know no reset: the exit code says that the stream was cut.
    fn close_by_reset(&mut self) {}

    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

impl AsyncRead for Stdio {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.hung_up(cx) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.input).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stdio {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.hung_up(cx) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.output).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.hung_up(cx) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.output).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.hung_up(cx) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.output).poll_shutdown(cx)
    }
}
