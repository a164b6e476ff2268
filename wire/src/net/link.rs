//! The driver of a [`Session`]: one task owns it; others reach it over bounded channels.

use std::io;
use std::time::Instant;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
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

/// Drives `session` over `stream` until either ends, and says why.
///
/// Events wait in `events`; while that is full nothing more is read, so a slow application slows its peer and no
/// one else. A command that the session refuses ends it: what an application asked to be said would be lost otherwise.
pub async fn drive<S>(
    stream: S,
    session: &mut Session,
    commands: &mut mpsc::Receiver<Command>,
    events: &mpsc::Sender<Event>,
) -> CloseReason
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (reader, writer) = tokio::io::split(stream);
    Driver { reader, writer, input: BytesMut::new(), output: BytesMut::new() }
        .run(session, commands, events)
        .await
}

struct Driver<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    input: BytesMut,
    /// Bytes the stream has not taken yet; the session is asked for more only when it is empty.
    output: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    async fn run(
        mut self,
        session: &mut Session,
        commands: &mut mpsc::Receiver<Command>,
        events: &mpsc::Sender<Event>,
    ) -> CloseReason {
        let mut waiting: Option<Event> = None;
        loop {
            // 1. Drain: events first, then bytes.
            if waiting.is_none() && self.output.is_empty() {
                match session.poll_output() {
                    Some(Output::Event(event)) => waiting = Some(event),
                    Some(Output::Transmit(bytes)) => self.output = bytes,
                    Some(Output::Close(reason)) => return self.close(reason).await,
                    None => {}
                }
            }
            let deadline = session.poll_timeout().unwrap_or_else(Instant::now);
            // 2. Wait for whatever comes first.
            tokio::select! {
                permit = events.reserve(), if waiting.is_some() => match (permit, waiting.take()) {
                    (Ok(permit), Some(event)) => permit.send(event),
                    _ => session.refuse("the application has gone"),
                },
                written = self.writer.write(&self.output), if !self.output.is_empty() => match written {
                    Ok(0) => return CloseReason::Eof,
                    Err(error) => return CloseReason::Transport(error.to_string()),
                    Ok(written) => self.written(written).await,
                },
                read = self.reader.read_buf(&mut self.input), if waiting.is_none() => self.read(session, read),
                command = commands.recv() => command_in(session, command),
                () = sleep_until(deadline.into()) => session.handle_timeout(Instant::now()),
            }
        }
    }

    async fn written(&mut self, written: usize) {
        self.output.advance(written);
        if self.output.is_empty() {
            self.output = BytesMut::new();
            // TLS buffers what the socket did not take; flushing is part of writing. Errors show at the next write.
            let _ = timeout(FLUSH_TIMEOUT, self.writer.flush()).await;
        }
    }

    fn read(&mut self, session: &mut Session, read: io::Result<usize>) {
        match read {
            Ok(0) => session.handle_input(Instant::now(), Input::Eof),
            // A peer that leaves without close_notify says nothing more than one that leaves with it: frames have lengths.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                session.handle_input(Instant::now(), Input::Eof);
            }
            Err(error) => session.handle_input(Instant::now(), Input::Failed(error.to_string())),
            Ok(_) => session.handle_input(Instant::now(), Input::Received(&self.input)),
        }
        self.input.clear();
    }

    /// Writes what is left, within a deadline, and closes the stream.
    async fn close(&mut self, reason: CloseReason) -> CloseReason {
        let farewell = async {
            self.writer.write_all(&self.output).await?;
            self.writer.shutdown().await
        };
        // The peer may be gone; nothing depends on the farewell.
        let _ = timeout(FLUSH_TIMEOUT, farewell).await;
        reason
    }
}

fn command_in(session: &mut Session, command: Option<Command>) {
    let now = Instant::now();
    let done = match command {
        Some(Command::Send(message)) => session.send(&message),
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

/// How long a peer may take for the last bytes of a session.
const FLUSH_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

#[cfg(test)]
mod tests;
