//! The driver of a [`Session`]: one task owns it; others reach it over bounded channels.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use crate::message::{Message, Welcome};
use crate::session::{CloseReason, Event, Input, Output, SendError, Session};

/// What others ask of a session.
#[derive(Debug)]
pub enum Command {
    /// Send this.
    Send(Message),
    /// Server: establish the session.
    Welcome(Welcome),
    /// Ask the peer whether it is there.
    Ping,
    /// End with this as the last message.
    Finish(Message, String),
}

/// The end of a session's queue that others have. A queue has room for several of its elements before anyone waits, so what
/// it holds is boxed: an idle session is small.
pub type Commands = mpsc::Sender<Box<Command>>;

/// Drives `session` over `stream` until either ends, and says why.
///
/// Events wait in `events`; while that is full nothing more is read, so a slow application slows its peer and no
/// one else. A command that the session refuses ends it: what an application asked to be said would be lost otherwise.
///
/// Once the session is closed it is over within [`FLUSH_TIMEOUT`], whether or not the peer reads its last words and the
/// application takes the last events.
pub async fn drive<S>(
    stream: S,
    session: &mut Session,
    commands: &mut mpsc::Receiver<Box<Command>>,
    events: &mpsc::Sender<Box<Event>>,
) -> CloseReason
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (reader, writer) = tokio::io::split(stream);
    let driver = Driver { reader, writer, output: None, waiting: None };
    driver.run(session, commands, events).await
}

struct Driver<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    /// Bytes on their way out, empty once they only need flushing: TLS keeps what its socket did not take. The session
    /// is asked for more only when they are gone.
    output: Option<BytesMut>,
    /// An event the application has not taken yet.
    waiting: Option<Event>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    async fn run(
        mut self,
        session: &mut Session,
        commands: &mut mpsc::Receiver<Box<Command>>,
        events: &mpsc::Sender<Box<Event>>,
    ) -> CloseReason {
        // A session that waits for no time is over; whatever it still has to say is said under one deadline.
        while let Some(deadline) = session.poll_timeout() {
            // 1. Drain: events first, then bytes.
            if self.waiting.is_none() && self.output.is_none() {
                match session.poll_output() {
                    Some(Output::Event(event)) => self.waiting = Some(event),
                    Some(Output::Transmit(bytes)) => self.output = Some(bytes),
                    Some(Output::Close(_)) | None => {} // an open session says no end
                }
            }
            // 2. Wait for whatever comes first.
            tokio::select! {
                permit = events.reserve(), if self.waiting.is_some() => match (permit, self.waiting.take()) {
                    (Ok(permit), Some(event)) => permit.send(Box::new(event)),
                    _ => session.refuse("the application has gone"),
                },
                written = write(&mut self.writer, &mut self.output), if self.output.is_some() => {
                    if let Err(error) = written {
                        session.handle_input(now(), Input::Failed(error.to_string()));
                    }
                }
                () = receive(&mut self.reader, session), if self.waiting.is_none() => {}
                command = commands.recv() => command_in(session, command.map(|command| *command)),
                () = sleep_until(deadline.into()) => session.handle_timeout(now()),
            }
        }
        Box::pin(self.close(session, events)).await // an open session has no room for its end
    }

    /// Writes what is left and hands over what was heard, both under one deadline, and closes the stream.
    async fn close(mut self, session: &mut Session, events: &mpsc::Sender<Box<Event>>) -> CloseReason {
        let mut heard: Vec<_> = self.waiting.into_iter().collect();
        let mut reason = CloseReason::Local("the session was over before".into());
        while let Some(output) = session.poll_output() {
            match output {
                Output::Event(event) => heard.push(event),
                Output::Transmit(bytes) => self.output.get_or_insert_default().unsplit(bytes),
                Output::Close(why) => reason = why,
            }
        }
        let farewell = async {
            write(&mut self.writer, &mut self.output).await?;
            self.writer.shutdown().await
        };
        let told = async {
            for event in heard {
                events.send(Box::new(event)).await?;
            }
            Ok::<_, mpsc::error::SendError<Box<Event>>>(())
        };
        // Peer or application may be gone or stuck; nothing depends on either.
        let _ = timeout(FLUSH_TIMEOUT, async { tokio::join!(farewell, told) }).await;
        reason
    }
}

/// Writes and flushes what is on its way out. Safe to cancel: what was written is gone from `output`.
async fn write<W: AsyncWrite + Unpin>(writer: &mut W, output: &mut Option<BytesMut>) -> io::Result<()> {
    let Some(bytes) = output else { return Ok(()) };
    while !bytes.is_empty() {
        match writer.write(bytes).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => bytes.advance(written),
        }
    }
    writer.flush().await?;
    *output = None;
    Ok(())
}

/// Takes in what the peer sent. The space for it is on the stack while it is filled, so that a session that waits has
/// none.
async fn receive<R: AsyncRead + Unpin>(reader: &mut R, session: &mut Session) {
    poll_fn(|context| {
        let mut space = [MaybeUninit::uninit(); READ_CAPACITY];
        let mut read = ReadBuf::uninit(&mut space);
        let input = match ready!(Pin::new(&mut *reader).poll_read(context, &mut read)) {
            Ok(()) if read.filled().is_empty() => Input::Eof,
            Ok(()) => Input::Received(read.filled()),
            // A peer that leaves without close_notify says nothing more than one that leaves with it: frames have
            // lengths.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Input::Eof,
            Err(error) => Input::Failed(error.to_string()),
        };
        session.handle_input(now(), input);
        Poll::Ready(())
    })
    .await;
}

fn command_in(session: &mut Session, command: Option<Command>) {
    let now = now();
    let done = match command {
        Some(Command::Send(message)) => session.send(now, &message),
        Some(Command::Welcome(welcome)) => session.welcome(now, welcome),
        Some(Command::Ping) => {
            session.ping(now);
            Ok(())
        }
        Some(Command::Finish(last, reason)) => {
            session.finish(&last, &reason);
            Ok(())
        }
        None => {
            session.refuse("this end shuts down");
            Ok(())
        }
    };
    if let Err(error) = done {
        stalled(session, error);
    }
}

fn stalled(session: &mut Session, error: SendError) {
    tracing::debug!(%error, "a message could not be queued; the session ends");
    session.refuse(&error.to_string());
}

/// The runtime's clock, which is also the one that wakes the driver.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// How long the peer may take for the last bytes of a session, and the application for its last events.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes read at once: several messages as they come, and the queue of events that one read makes stays short.
const READ_CAPACITY: usize = 4096;

#[cfg(test)]
mod tests;
