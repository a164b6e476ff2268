//! Sends an object by one interface.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::SenderKeys;
use super::interface::Interface;
use super::object::{Object, ObjectError};
use super::peers::Peers;
use super::room::wait;
use super::socket::{Inbox, Socket};
use super::supply::Supply;
use crate::announcement::{Announcement, Phase};
use crate::feedback::State;
use crate::id::{ReceiverId, SessionId};
use crate::key::{PacketKey, random};
use crate::layout::{SYMBOL_LEAST, SYMBOL_USUAL};
use crate::packet::{Header, SYMBOL_OVERHEAD};
use crate::sender::{Config, Counts, Event, Output, Sender};
use crate::tags::{Tags, tag};

/// How to send.
#[derive(Debug, Clone)]
pub struct SendOptions {
    /// The group and its port.
    pub group: SocketAddr,
    /// By which interface.
    pub interface: Interface,
    /// Routers it may pass.
    pub hops: u8,
    /// The session.
    pub config: Config,
}

/// A session as it goes on.
#[derive(Debug)]
pub struct SendView<'a> {
    /// The sender's core.
    pub sender: &'a Sender,
    /// What happened since the last look.
    pub events: &'a [Event],
}

/// What a session did.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Each receiver.
    pub receivers: Vec<SentTo>,
    /// What went out.
    pub counts: Counts,
    /// Source symbols of the object.
    pub sources: u64,
    /// How long it took.
    pub time: Duration,
}

/// What a receiver got.
#[derive(Debug, Clone)]
pub struct SentTo {
    /// Who it is.
    pub receiver: ReceiverId,
    /// What it calls itself.
    pub label: String,
    /// How it ended.
    pub state: State,
    /// Whether it had to wait for the tail.
    pub demoted: bool,
    /// The share of packets it lost, if it knew.
    pub loss: Option<f64>,
    /// Symbols it had to restore.
    pub repaired: u32,
    /// Blocks it has, of how many.
    pub verified: u32,
    /// From its first word until it was complete.
    pub time: Option<Duration>,
}

/// Why a session ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The files cannot be sent.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The network cannot be used.
    #[error("cannot send by {interface}: {error}")]
    Socket {
        /// Which interface.
        interface: String,
        /// Why.
        error: io::Error,
    },
    /// A packet that any MTU has room for does not fit.
    #[error("{interface} takes packets of {mtu} bytes only")]
    Mtu {
        /// Which interface.
        interface: String,
        /// Its MTU.
        mtu: u16,
    },
}

/// Sends an object until the session is over; `look` is called some times a second, and may end it.
///
/// # Errors
/// What ended it before.
pub fn send(
    object: &Object,
    keys: &SenderKeys,
    options: &SendOptions,
    mut look: impl FnMut(SendView<'_>) -> ControlFlow<()>,
) -> Result<Sent, SendError> {
    let begun = Instant::now();
    let mut driver = Driver::new(object, keys, options)?;
    let (mut looked, mut events) = (begun, Vec::new());
    loop {
        driver.hear()?;
        let now = Instant::now();
        driver.core.handle_timeout(now);
        driver.drain(&mut events)?;
        let Some(due) = driver.core.poll_timeout() else { break };
        if !events.is_empty() || now.saturating_duration_since(looked) >= LOOK {
            looked = now;
            let view = SendView { sender: &driver.core, events: &events };
            if look(view).is_break() {
                driver.core.stop(now);
            }
            events.clear();
        }
        let due = due.min(looked + LOOK).saturating_duration_since(Instant::now());
        wait(&[driver.socket.as_fd()], due).map_err(|error| driver.failed(error))?;
    }
    // What happened last is told, too.
    let _ = look(SendView { sender: &driver.core, events: &events });
    Ok(driver.sent(begun))
}

struct Driver<'a> {
    core: Sender,
    keys: &'a SenderKeys,
    options: &'a SendOptions,
    object: &'a Object,
    supply: Supply<'a>,
    inline: Bytes,
    session: SessionId,
    key: PacketKey,
    symbol: u16,
    sources: u64,
    socket: Socket,
    inbox: Inbox,
    packets: Vec<u8>,
    peers: Peers<'a>,
}

impl<'a> Driver<'a> {
    fn new(object: &'a Object, keys: &'a SenderKeys, options: &'a SendOptions) -> Result<Self, SendError> {
        let interface = &options.interface;
        let symbol = symbol_size(interface)?;
        let layout = object.manifest.layout(symbol).ok_or(ObjectError::TooMuch)?;
        let inline = object.inline()?;
        let socket = Socket::sending(interface, options.hops)
            .map_err(|error| SendError::Socket { interface: interface.name.clone(), error })?;
        let session = SessionId(random());
        let config = Config { inline: inline.is_some(), ..options.config.clone() };
        Ok(Self {
            core: Sender::new(Instant::now(), config, layout),
            keys,
            options,
            object,
            supply: Supply::new(object, layout),
            inline: inline.unwrap_or_default(),
            session,
            key: keys.epoch.packets(session, LANE),
            symbol,
            sources: layout.total_sources(),
            socket,
            inbox: Inbox::new(),
            packets: Vec::new(),
            peers: Peers::new(keys, session),
        })
    }

    /// Takes in what receivers say.
    fn hear(&mut self) -> Result<(), SendError> {
        let Self { core, peers, socket, inbox, .. } = self;
        let mut take = |datagram: &mut [u8], from: SocketAddr| {
            if let Some((receiver, said)) = peers.open(datagram, from) {
                core.handle_feedback(Instant::now(), receiver, said);
            }
        };
        for _ in 0..TURNS {
            match socket.receive(inbox, &mut take) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(())
    }

    fn drain(&mut self, events: &mut Vec<Event>) -> Result<(), SendError> {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Announce { number, sequence, phase, demoted } => {
                    self.announce(number, sequence, phase, demoted)?;
                }
                Output::Symbols { number, block, esi, count } => self.symbols(number, block, esi, count)?,
                Output::Mark { number, mark } => {
                    let session = self.session.short();
                    self.say(Header::Mark { lane: LANE, session, number }, &mark.encode())?;
                }
                Output::Tags { number, block, first, count } => self.tags(number, block, first, count)?,
                Output::Receipt(receiver) => self.receipt(receiver)?,
                Output::Event(event) => events.push(event),
            }
        }
        Ok(())
    }

    fn announce(
        &mut self,
        number: u64,
        sequence: u32,
        phase: Phase,
        demoted: Vec<ReceiverId>,
    ) -> Result<(), SendError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let announcement = Announcement {
            sequence,
            phase,
            symbol: self.symbol,
            stamp: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            manifest: self.object.signed.clone(),
            demoted,
            inline: self.inline.clone(),
        };
        let body = announcement.encode(self.session, &self.keys.announcer);
        let (epoch, session) = (self.keys.epoch.epoch, self.session);
        self.say(Header::Announcement { lane: LANE, epoch, session, number }, &body)
    }

    fn symbols(&mut self, number: u64, block: u32, esi: u16, count: u16) -> Result<(), SendError> {
        let Self { supply, packets, key, session, .. } = self;
        let session = session.short();
        packets.clear();
        supply.symbols(block, esi, count, |at, symbol| {
            let number = number + u64::from(at - esi);
            Header::Symbol { lane: LANE, session, number, block, esi: at }.seal(key, symbol, packets);
        })?;
        self.flush(self.options.group, usize::from(self.symbol) + SYMBOL_OVERHEAD)
    }

    fn tags(&mut self, number: u64, block: u32, first: u16, count: u16) -> Result<(), SendError> {
        let (session, mut tags) = (self.session, Vec::new());
        self.supply
            .symbols(block, first, count, |esi, symbol| tags.push(tag(session, block, esi, symbol)))?;
        let body = Tags { block, first, tags }.encode(session, &self.keys.announcer);
        self.say(Header::Tags { lane: LANE, session: session.short(), number }, &body)
    }

    fn say(&mut self, header: Header, body: &[u8]) -> Result<(), SendError> {
        self.packets.clear();
        header.seal(&self.key, body, &mut self.packets);
        self.flush(self.options.group, self.packets.len())
    }

    fn receipt(&mut self, receiver: ReceiverId) -> Result<(), SendError> {
        match self.peers.receipt(receiver, &mut self.packets) {
            Some(to) => self.flush(to, self.packets.len()),
            None => Ok(()),
        }
    }

    fn flush(&self, to: SocketAddr, size: usize) -> Result<(), SendError> {
        match self.socket.send(to, &self.packets, size) {
            Ok(()) => Ok(()),
            Err(error) if is_passing(&error) => {
                tracing::debug!(%error, %to, "a packet was not sent");
                Ok(())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: io::Error) -> SendError {
        SendError::Socket { interface: self.options.interface.name.clone(), error }
    }

    fn sent(&self, begun: Instant) -> Sent {
        let receivers = self.core.members().map(|(receiver, member)| SentTo {
            receiver,
            label: member.said.label.clone(),
            state: member.said.state,
            demoted: member.demoted,
            loss: member.said.loss.map(crate::loss::Loss::share),
            repaired: member.said.repaired,
            verified: member.said.verified,
            time: member.completed.map(|end| end.saturating_duration_since(member.joined)),
        });
        Sent {
            receivers: receivers.collect(),
            counts: self.core.counts(),
            sources: self.sources,
            time: begun.elapsed(),
        }
    }
}

/// The largest symbol whose packet the interface takes, up to what an Ethernet does.
fn symbol_size(interface: &Interface) -> Result<u16, SendError> {
    let headers = if interface.address.is_ipv4() { 28 } else { 48 };
    let overhead = headers + u16::try_from(SYMBOL_OVERHEAD).expect("a few bytes");
    let room = interface.mtu.saturating_sub(overhead) & !1;
    // An announcement needs 1,280 at most.
    if interface.mtu < 1280 || room < SYMBOL_LEAST {
        return Err(SendError::Mtu { interface: interface.name.clone(), mtu: interface.mtu });
    }
    Ok(room.min(SYMBOL_USUAL))
}

/// Whether a network that is away for a moment, or a full queue, is all that is wrong.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let queue_is_full = error.raw_os_error() == Some(libc::ENOBUFS);
    queue_is_full
        || matches!(
            error.kind(),
            Kind::NetworkUnreachable | Kind::NetworkDown | Kind::HostUnreachable | Kind::ConnectionRefused
        )
}

/// There is one thread, and so one lane.
const LANE: u8 = 0;
/// Batches of feedback taken before sending goes on.
const TURNS: usize = 8;
/// As often as a progress bar moves.
const LOOK: Duration = Duration::from_millis(100);
