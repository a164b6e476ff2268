//! The target's driver, inside an agent: one task owns the [`Target`](crate::target::Target), one more carries each connection.
//!
//! ```text
//! control connection ─ GRANT, OPEN, REVOKE, … ─▶ ┌─────────────┐ ─ states, signed records ─▶ control connection
//!                                                │ Target, its │
//! per connection: dial back, inner TLS, GO ────▶ │ one task    │ ─ resolve, dial, answer, carry, cut ─▶ connection
//!                                                └─────────────┘
//! ```
//! Live connections do not need the control connection; the core ends them when their orphan limit is over.

mod connection;
mod driver;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use klnet_wire::id::ServerId;
use klnet_wire::keyset::KeySet;
use klnet_wire::message::Message;
use klnet_wire::signing::SigningKey;
use tokio::sync::mpsc;

use crate::target::Input;
use driver::{Command, Driver};

/// What a target's driver is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The core's own.
    pub core: crate::target::Config,
    /// The device's key: the inner TLS server shows it, and it signs records.
    pub key: SigningKey,
    /// Gives the device's own addresses at once; asked whenever a host is about to be dialled. Empty means that they
    /// cannot be told now: those given last stay.
    pub own_addresses: fn() -> Vec<IpAddr>,
}

/// A session of the control connection, as WELCOME and the socket tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Where the control connection leads; dial-backs go to the same host and port.
    pub server: SocketAddr,
    /// Names the session.
    pub epoch: u64,
    /// The server's clock, Unix seconds: records are dated by it.
    pub clock: u64,
    /// The server, when known: grants must name it.
    pub relay: Option<ServerId>,
    /// Addresses that are never reached as another host, beside the device's own: those of the relay and the servers.
    pub forbidden: Vec<IpAddr>,
}

/// The target's task is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tunnel target has stopped")]
pub struct Stopped;

/// Reaches a running target. When the last handle is dropped the target stops and resets its connections.
#[derive(Debug, Clone)]
pub struct TargetHandle {
    commands: mpsc::Sender<Command>,
}

/// Starts a target on the current runtime; the messages it gives are for the control connection.
///
/// A message that finds the queue full is left out: records are sent again until they are confirmed.
pub fn start(config: Config) -> (TargetHandle, mpsc::Receiver<Message>) {
    let (commands, command_queue) = mpsc::channel(QUEUE);
    let (messages, message_queue) = mpsc::channel(QUEUE);
    let driver = Driver::new(config, command_queue, messages);
    tokio::spawn(driver.run());
    (TargetHandle { commands }, message_queue)
}

impl TargetHandle {
    /// The fabric's verified key set, which grants are checked with.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn keys(&self, keys: Arc<KeySet>) -> Result<(), Stopped> {
        self.send(Command::Tell(Input::Keys(keys))).await
    }

    /// The control connection has a session.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn connected(&self, session: Session) -> Result<(), Stopped> {
        self.send(Command::Connected(session)).await
    }

    /// The control connection is gone.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn disconnected(&self) -> Result<(), Stopped> {
        self.send(Command::Tell(Input::Disconnected)).await
    }

    /// Takes a message of the control connection; gives it back when it is not about tunnels.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn receive(&self, message: Message) -> Result<Option<Message>, Stopped> {
        let input = match message {
            Message::Grant(signed) => Input::Grant(signed),
            Message::Open(open) => Input::Open(open),
            Message::Revoke(revoke) => Input::Revoke(revoke),
            Message::Recorded(recorded) => Input::Recorded(recorded),
            other => return Ok(Some(other)),
        };
        self.send(Command::Tell(input)).await?;
        Ok(None)
    }

    async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }
}

/// Commands or messages that wait.
const QUEUE: usize = 1024;
