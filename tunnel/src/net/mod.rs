//! The tokio floor: sockets, inner TLS, the byte mover, and the tasks that own the cores.
//!
//! # A relay, a target and an initiator
//! The relay, in a server: two ports, and a control connection per agent to carry its events.
//! ```no_run
//! use klnet_tunnel::net::accept::Acceptor;
//! use klnet_tunnel::net::relay::{self, Arrival, RelayEvent};
//! # use klnet_wire::message::Message;
//! # fn send(_: klnet_wire::id::DeviceId, _: Message) {}
//! # fn serve_control(_: tokio::net::TcpStream) {}
//! # async fn example(core: klnet_tunnel::relay::Config) -> std::io::Result<()> {
//!
//! let (relay, mut events) = relay::start(relay::Config::new(core));
//! tokio::spawn(async move {
//!     while let Some(event) = events.recv().await {
//!         match event {
//!             RelayEvent::Open { device, open } => send(device, Message::Open(open)),
//!             other => println!("{other:?}"), // REVOKE for a device, records, what was refused
//!         }
//!     }
//! });
//! let mut tunnels = Acceptor::new(tokio::net::TcpListener::bind("[::]:29200").await?);
//! let mut agents = Acceptor::new(tokio::net::TcpListener::bind("[::]:23100").await?);
//! loop {
//!     tokio::select! {
//!         (stream, peer) = tunnels.accept() => relay.initiator(stream, peer),
//!         (stream, peer) = agents.accept() => {
//!             let relay = relay.clone();
//!             tokio::spawn(async move {
//!                 if let Ok(Arrival::Control(stream)) = relay.agent(stream, peer).await {
//!                     serve_control(stream);
//!                 }
//!             });
//!         }
//!     }
//! }
//! # }
//! ```
//! At mint the server gives the signed grant to the device first, then to [`RelayHandle::admit`](relay::RelayHandle::admit),
//! which asks the device to dial back at once.
//!
//! The target, in an agent: what the control connection brings goes in, what comes out goes back on it.
//! ```no_run
//! use klnet_tunnel::net::target::{self, Session};
//! # use klnet_wire::message::Message;
//! # async fn example(
//! #     config: target::Config, keys: klnet_wire::keyset::KeySet, session: Session,
//! #     mut received: tokio::sync::mpsc::Receiver<Message>, send: tokio::sync::mpsc::Sender<Message>,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//!
//! let (target, mut messages) = target::start(config);
//! target.keys(keys.into()).await?;
//! target.connected(session).await?; // after each WELCOME
//! loop {
//!     tokio::select! {
//!         Some(message) = received.recv() => drop(target.receive(message).await?),
//!         Some(message) = messages.recv() => send.send(message).await?,
//!         else => return Ok(()),
//!     }
//! }
//! # }
//! ```
//!
//! The initiator: a pasted blob and the operator's own key.
//! ```no_run
//! use klnet_tunnel::net::initiator::Initiator;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! # async fn example(pasted: &str, key: klnet_wire::signing::SigningKey) -> Result<(), Box<dyn std::error::Error>> {
//!
//! let initiator = Initiator::new(pasted.parse()?, &key);
//! let mut stream = initiator.connect().await?.stream;
//! stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
//! let mut answer = Vec::new();
//! stream.read_to_end(&mut answer).await?;
//! # Ok(())
//! # }
//! ```
//! Who opens many connections keeps some [`ready`]: `Ready::new(initiator, Config::default()).connect()` says GO on one
//! whose handshake is done.

pub mod accept;
mod clock;
pub mod exchange;
pub mod initiator;
pub mod inner;
pub mod lanes;
pub mod lobby;
pub mod mover;
pub mod peek;
pub mod ready;
pub mod relay;
pub mod request;
pub mod socket;
pub mod target;
