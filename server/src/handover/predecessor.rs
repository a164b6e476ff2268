//! The process whose place this one takes, as this one sees it.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::time::Duration;

use klnet_tunnel::net::mover::Lifted;
use klnet_tunnel::net::relay::Moved;
use klnet_tunnel::pair::{PairEnd, PairId};
use klnet_tunnel::relay::LivePair;
use tokio::time::timeout;

use super::link::{Link, LinkError};
use super::message::{Message, PROTOCOL, Record};
use super::parcel;
use crate::listeners::Inherited;

/// A process that is to be replaced by this one.
#[derive(Debug)]
pub struct Predecessor(Link);

/// What goes wrong between the two.
#[derive(Debug, thiserror::Error)]
pub enum Discord {
    /// It speaks another protocol.
    #[error(
        "the running server ({build}) hands over by protocol {theirs}, this one takes {PROTOCOL}; restart it"
    )]
    Protocol {
        /// Its protocol.
        theirs: u32,
        /// Version of its program.
        build: String,
    },
    /// It says nothing.
    #[error("the running server says nothing")]
    Silent,
    /// It said something else than it should.
    #[error("the running server said {0} out of turn")]
    OutOfTurn(&'static str),
    /// This process cannot have what it is offered.
    #[error("cannot take over {0}: no descriptors are left")]
    Descriptors(&'static str),
    /// More than it can have.
    #[error("the running server has more than {0} connections or ports")]
    TooMany(usize),
    /// It cannot be reached.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// What is known of live connections before their sockets come, and what the store does not know yet.
#[derive(Debug, Default)]
pub(super) struct Bequest {
    pub(super) live: Vec<(LivePair, Moved)>,
    pub(super) records: Vec<Record>,
}

/// What the old process says once this one serves.
#[derive(Debug)]
pub(super) enum Next {
    /// A connection to be carried; `None` when this process has no room for its descriptors.
    Carry(PairId, Moved, Option<Box<Lifted>>),
    Ended(PairId, PairEnd),
    Done,
}

impl Predecessor {
    /// The process that started this one to take its place; `None` when anyone else did.
    ///
    /// # Errors
    /// What the system says.
    pub fn inherited() -> io::Result<Option<Self>> {
        Ok(Link::inherited()?.map(Self))
    }

    /// The bound ports.
    pub(super) async fn offer(&mut self) -> Result<Inherited, Discord> {
        let (protocol, build, count) = match self.hear(OFFER_TIMEOUT).await? {
            (Message::Offer { protocol, build, listeners }, _) => (protocol, build, listeners),
            (other, _) => return Err(Discord::OutOfTurn(other.name())),
        };
        if protocol != PROTOCOL {
            return Err(Discord::Protocol { theirs: protocol, build });
        }
        let mut inherited = Inherited::default();
        for _ in 0..usize::try_from(count).unwrap_or(usize::MAX).min(LISTENERS_LIMIT) {
            match self.hear(OFFER_TIMEOUT).await? {
                (Message::Listener(name), descriptors) => inherited.add(name, listener(descriptors)?),
                (other, _) => return Err(Discord::OutOfTurn(other.name())),
            }
        }
        Ok(inherited)
    }

    /// Says that this process could serve, and returns once it is to.
    pub(super) async fn bequest(&mut self) -> Result<Bequest, Discord> {
        let build = env!("CARGO_PKG_VERSION").to_owned();
        self.say(&Message::Prepared { process: std::process::id(), build }).await?;
        let mut bequest = Bequest::default();
        loop {
            match self.hear(BEQUEST_TIMEOUT).await?.0 {
                Message::Pair(live, moved) => bequest.live.push((live, moved.into())),
                Message::Record(record) => bequest.records.push(record),
                Message::Serve => return Ok(bequest),
                other => return Err(Discord::OutOfTurn(other.name())),
            }
            if bequest.live.len() + bequest.records.len() > BEQUEST_LIMIT {
                return Err(Discord::TooMany(BEQUEST_LIMIT));
            }
        }
    }

    /// What follows once this process serves.
    pub(super) async fn next(&mut self) -> Result<Next, Discord> {
        Ok(match self.hear(NEXT_TIMEOUT).await? {
            (Message::Carry(carry), descriptors) => {
                let (pair, moved) = (carry.pair, carry.moved.into());
                Next::Carry(pair, moved, parcel::open(carry, descriptors).map(Box::new))
            }
            (Message::Ended(pair, end), _) => Next::Ended(pair, end),
            (Message::Done, _) => Next::Done,
            (other, _) => return Err(Discord::OutOfTurn(other.name())),
        })
    }

    pub(super) async fn say(&self, message: &Message) -> Result<(), Discord> {
        let sent = timeout(OFFER_TIMEOUT, self.0.send(message, &[])).await;
        Ok(sent.map_err(|_| Discord::Silent)??)
    }

    /// Waits until it has told its supervisor and ends.
    pub(super) async fn end(mut self) {
        // It says nothing any more; one that stays is nobody's server.
        let _ = timeout(OFFER_TIMEOUT, self.0.receive()).await;
    }

    async fn hear(&mut self, limit: Duration) -> Result<(Message, Vec<OwnedFd>), Discord> {
        Ok(timeout(limit, self.0.receive()).await.map_err(|_| Discord::Silent)??)
    }
}

fn listener(descriptors: Vec<OwnedFd>) -> Result<TcpListener, Discord> {
    let socket = descriptors.into_iter().next().ok_or(Discord::Descriptors("a port"))?;
    Ok(socket.into())
}

/// How long it may take to say what it says without waiting for anyone.
const OFFER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to end requests and sessions, each of its steps at its limit.
const BEQUEST_TIMEOUT: Duration = Duration::from_secs(40);
/// How long it may say nothing while it waits for connections that this process could not take: longer than a
/// `drain_timeout` may be.
const NEXT_TIMEOUT: Duration = Duration::from_secs(2 * 3600);
/// Most ports, with those of the lanes; a range has at most a hundred.
const LISTENERS_LIMIT: usize = 65_536;
/// Most connections and records: two descriptors each are more than a process may have.
const BEQUEST_LIMIT: usize = 524_288;
