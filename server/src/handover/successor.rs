//! The process that is to take this one's place, as this one sees it.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use klnet_tunnel::pair::{PairEnd, PairId};
use tokio::process::Child;
use tokio::time::timeout;

use super::link::{Link, LinkError};
use super::message::{Carry, Listener, Message, PROTOCOL};
use super::program::Program;

/// A process that was started from this one.
#[derive(Debug)]
pub struct Successor {
    link: Link,
    child: Child,
    process: u32,
    build: String,
}

/// Why a new process does not take over.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It was not started.
    #[error("{} cannot be started: {error}", path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It cannot, and says why.
    #[error("{0}")]
    Cannot(String),
    /// It ended by itself.
    #[error("the new process ended: {0}")]
    Ended(ExitStatus),
    /// It took too long.
    #[error("the new process did not {what} within {limit:?}")]
    Late {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        limit: Duration,
    },
    /// It said something else than was asked.
    #[error("the new process said {0} out of turn")]
    OutOfTurn(&'static str),
    /// It cannot be reached.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// This process was asked to stop meanwhile.
    #[error("this server was asked to stop")]
    Stopped,
}

/// What a successor says to a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Taken,
    /// It has not touched a byte.
    Declined,
}

impl Successor {
    /// Starts a program and offers it the listeners; returns once it says that it could serve with them.
    pub(super) async fn start(
        program: &Program,
        listeners: &[(Listener, &TcpListener)],
    ) -> Result<Self, Failure> {
        let started = |error| Failure::Start { path: program.path().into(), error };
        let (link, theirs) = Link::pair().map_err(started)?;
        let child = program.start(theirs).map_err(started)?;
        let mut successor = Self { link, child, process: 0, build: String::new() };
        match successor.offer(listeners).await {
            Ok(()) => Ok(successor),
            Err(failure) => Err(successor.gave_up(failure).await),
        }
    }

    async fn offer(&mut self, listeners: &[(Listener, &TcpListener)]) -> Result<(), Failure> {
        let (protocol, build) = (PROTOCOL, env!("CARGO_PKG_VERSION").to_owned());
        let count = u32::try_from(listeners.len()).expect("as many as there are ports");
        self.say(&Message::Offer { protocol, build, listeners: count }, &[]).await?;
        for (name, listener) in listeners {
            self.say(&Message::Listener(*name), &[listener.as_fd()]).await?;
        }
        match self.hear("get ready", PREPARE_TIMEOUT).await? {
            Message::Prepared { process, build } => (self.process, self.build) = (process, build),
            other => return Err(out_of_turn(&other)),
        }
        Ok(())
    }

    /// The process, which may be a child of the one that was started.
    pub fn process(&self) -> u32 {
        self.process
    }

    /// Version of its program.
    pub fn build(&self) -> &str {
        &self.build
    }

    /// Tells it what there is, and returns once it serves.
    pub(super) async fn serve(&mut self, bequest: impl Iterator<Item = Message>) -> Result<(), Failure> {
        for message in bequest {
            self.say(&message, &[]).await?;
        }
        self.say(&Message::Serve, &[]).await?;
        match self.hear("serve", SERVE_TIMEOUT).await? {
            Message::Serving => Ok(()),
            other => Err(out_of_turn(&other)),
        }
    }

    /// Shows it a pair's sockets; an error means that it never saw them.
    pub(super) async fn show(&mut self, carry: Carry, descriptors: &[BorrowedFd<'_>]) -> Result<(), Failure> {
        self.say(&Message::Carry(carry), descriptors).await
    }

    /// What it says to the pair it was shown.
    pub(super) async fn answer(&mut self, shown: PairId) -> Result<Answer, Failure> {
        match self.hear("take a connection", CARRY_TIMEOUT).await? {
            Message::Taken(pair) if pair == shown => Ok(Answer::Taken),
            Message::Declined(pair) if pair == shown => Ok(Answer::Declined),
            other => Err(out_of_turn(&other)),
        }
    }

    /// Tells it the end of a pair it was not shown.
    pub(super) async fn ended(&mut self, pair: PairId, end: PairEnd) -> Result<(), Failure> {
        self.say(&Message::Ended(pair, end), &[]).await
    }

    /// Tells it that there is no more, and returns once it has everything.
    pub(super) async fn done(&mut self) -> Result<(), Failure> {
        self.say(&Message::Done, &[]).await?;
        match self.hear("say that it has everything", CARRY_TIMEOUT).await? {
            Message::Done => Ok(()),
            other => Err(out_of_turn(&other)),
        }
    }

    /// Makes sure that it is no more, and gives the reason, or the better one that its end tells.
    pub(super) async fn gave_up(mut self, failure: Failure) -> Failure {
        let gone = matches!(failure, Failure::Link(LinkError::Gone));
        // One that closed its end is ending, and its own status says more than our signal would.
        if gone && let Ok(Ok(status)) = timeout(END_TIMEOUT, self.child.wait()).await {
            return Failure::Ended(status);
        }
        // It may have ended meanwhile.
        let _ = self.child.kill().await;
        failure
    }

    async fn say(&mut self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), Failure> {
        // A queue that stays full belongs to a process that hangs.
        let sent = timeout(CARRY_TIMEOUT, self.link.send(message, descriptors)).await;
        Ok(sent.map_err(|_| Failure::Late { what: "listen", limit: CARRY_TIMEOUT })??)
    }

    async fn hear(&mut self, what: &'static str, limit: Duration) -> Result<Message, Failure> {
        let heard = timeout(limit, self.link.receive()).await;
        match heard.map_err(|_| Failure::Late { what, limit })??.0 {
            Message::Cannot { why } => Err(Failure::Cannot(why)),
            message => Ok(message),
        }
    }
}

fn out_of_turn(message: &Message) -> Failure {
    Failure::OutOfTurn(message.name())
}

/// How long a new process may take to read its configuration and keys and to bind ports.
pub(super) const PREPARE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to open the store and to load what it holds; nobody is served meanwhile.
pub(super) const SERVE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to put a connection to work, which it does in much less than a millisecond.
const CARRY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a process may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(1);
