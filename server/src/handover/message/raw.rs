//! The messages as they are written.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use klnet_tunnel::grant::Grant;
use klnet_tunnel::label::Cookie;
use klnet_tunnel::pair::{EndReason, PairEnd, PairId};
use klnet_tunnel::relay::LivePair;

use super::{Message, NotUnderstood};

/// One message.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Envelope {
    #[prost(oneof = "Said", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13")]
    said: Option<Said>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Said {
    #[prost(message, tag = "1")]
    Offer(Offer),
    #[prost(message, tag = "2")]
    Listener(Listener),
    #[prost(message, tag = "3")]
    Pair(Pair),
    #[prost(message, tag = "4")]
    Record(Record),
    #[prost(message, tag = "5")]
    Serve(Nothing),
    #[prost(message, tag = "6")]
    Carry(Carry),
    #[prost(message, tag = "7")]
    Ended(Ended),
    #[prost(message, tag = "8")]
    Done(Nothing),
    #[prost(message, tag = "9")]
    Prepared(Prepared),
    #[prost(string, tag = "10")]
    Cannot(String),
    #[prost(message, tag = "11")]
    Serving(Nothing),
    #[prost(uint64, tag = "12")]
    Taken(u64),
    #[prost(uint64, tag = "13")]
    Declined(u64),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[derive(Clone, PartialEq, prost::Message)]
struct Offer {
    #[prost(uint32, tag = "1")]
    protocol: u32,
    #[prost(string, tag = "2")]
    build: String,
    #[prost(uint32, tag = "3")]
    listeners: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Listener {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    address: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pair {
    #[prost(uint64, tag = "1")]
    pair: u64,
    #[prost(bytes = "vec", tag = "2")]
    grant: Vec<u8>,
    #[prost(uint64, tag = "3")]
    left_ms: u64,
    #[prost(uint64, tag = "4")]
    orphan_ms: u64,
    #[prost(bytes = "vec", tag = "5")]
    cookie: Vec<u8>,
    #[prost(string, tag = "6")]
    initiator: String,
    #[prost(uint64, tag = "7")]
    age_ms: u64,
    #[prost(message, tag = "8")]
    moved: Option<Moved>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Moved {
    #[prost(uint64, tag = "1")]
    to_target: u64,
    #[prost(uint64, tag = "2")]
    to_initiator: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(bytes = "vec", tag = "1")]
    grant: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    cookie: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    tenant: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    device: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    operator: Vec<u8>,
    #[prost(string, tag = "6")]
    initiator: String,
    #[prost(uint64, tag = "7")]
    lasted_ms: u64,
    #[prost(message, tag = "8")]
    moved: Option<Moved>,
    #[prost(enumeration = "EndReason", tag = "9")]
    reason: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Carry {
    #[prost(uint64, tag = "1")]
    pair: u64,
    #[prost(message, tag = "2")]
    moved: Option<Moved>,
    #[prost(uint64, tag = "3")]
    silent_ms: u64,
    #[prost(message, tag = "4")]
    there: Option<Way>,
    #[prost(message, tag = "5")]
    back: Option<Way>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Way {
    #[prost(oneof = "Stage", tags = "1, 2, 3, 4")]
    stage: Option<Stage>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Stage {
    #[prost(message, tag = "1")]
    Open(Nothing),
    #[prost(bytes = "vec", tag = "2")]
    Copied(Vec<u8>),
    #[prost(uint32, tag = "3")]
    Spliced(u32),
    #[prost(message, tag = "4")]
    Ended(Nothing),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Ended {
    #[prost(uint64, tag = "1")]
    pair: u64,
    #[prost(message, tag = "2")]
    moved: Option<Moved>,
    #[prost(enumeration = "EndReason", tag = "3")]
    reason: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Prepared {
    #[prost(uint32, tag = "1")]
    process: u32,
    #[prost(string, tag = "2")]
    build: String,
}

impl From<&Message> for Envelope {
    fn from(message: &Message) -> Self {
        Self { said: Some(Said::from(message)) }
    }
}

impl From<&Message> for Said {
    fn from(message: &Message) -> Self {
        match message {
            Message::Offer { protocol, build, listeners } => {
                Self::Offer(Offer { protocol: *protocol, build: build.clone(), listeners: *listeners })
            }
            Message::Listener(listener) => {
                Self::Listener(Listener { kind: listener.kind.into(), address: listener.address.to_string() })
            }
            Message::Pair(live, moved) => Self::Pair(Pair::new(live, *moved)),
            Message::Record(record) => Self::Record(Record::from(record)),
            Message::Serve => Self::Serve(Nothing {}),
            Message::Carry(carry) => Self::Carry(Carry::from(carry)),
            Message::Ended(pair, end) => {
                Self::Ended(Ended { pair: pair.0, moved: moved(end), reason: end.reason.into() })
            }
            Message::Done => Self::Done(Nothing {}),
            Message::Prepared { process, build } => {
                Self::Prepared(Prepared { process: *process, build: build.clone() })
            }
            Message::Cannot { why } => Self::Cannot(why.clone()),
            Message::Serving => Self::Serving(Nothing {}),
            Message::Taken(pair) => Self::Taken(pair.0),
            Message::Declined(pair) => Self::Declined(pair.0),
        }
    }
}

impl TryFrom<Envelope> for Message {
    type Error = NotUnderstood;

    fn try_from(envelope: Envelope) -> Result<Self, NotUnderstood> {
        Ok(match envelope.said.ok_or(NotUnderstood("an unknown message"))? {
            Said::Offer(Offer { protocol, build, listeners }) => Self::Offer { protocol, build, listeners },
            Said::Listener(listener) => Self::Listener(super::Listener {
                kind: super::Kind::try_from(listener.kind).map_err(|_| NotUnderstood("kind of listener"))?,
                address: address(&listener.address)?,
            }),
            Said::Pair(pair) => {
                let moved = pair.moved.unwrap_or_default().into();
                Self::Pair(pair.try_into()?, moved)
            }
            Said::Record(record) => Self::Record(record.try_into()?),
            Said::Serve(Nothing {}) => Self::Serve,
            Said::Carry(carry) => Self::Carry(carry.try_into()?),
            Said::Ended(Ended { pair, moved, reason }) => Self::Ended(PairId(pair), end(moved, reason)),
            Said::Done(Nothing {}) => Self::Done,
            Said::Prepared(Prepared { process, build }) => Self::Prepared { process, build },
            Said::Cannot(why) => Self::Cannot { why },
            Said::Serving(Nothing {}) => Self::Serving,
            Said::Taken(pair) => Self::Taken(PairId(pair)),
            Said::Declined(pair) => Self::Declined(PairId(pair)),
        })
    }
}

impl Pair {
    fn new(live: &LivePair, moved: super::Moved) -> Self {
        Self {
            pair: live.pair.0,
            grant: live.grant.encode().into(),
            left_ms: millis(live.left),
            orphan_ms: millis(live.orphan),
            cookie: live.cookie.as_bytes().to_vec(),
            initiator: live.initiator.to_string(),
            age_ms: millis(live.age),
            moved: Some(moved.into()),
        }
    }
}

impl TryFrom<Pair> for LivePair {
    type Error = NotUnderstood;

    fn try_from(pair: Pair) -> Result<Self, NotUnderstood> {
        Ok(Self {
            pair: PairId(pair.pair),
            grant: Arc::new(Grant::read(&pair.grant).map_err(|_| NotUnderstood("grant"))?),
            left: Duration::from_millis(pair.left_ms),
            orphan: Duration::from_millis(pair.orphan_ms),
            cookie: cookie(&pair.cookie)?,
            initiator: address(&pair.initiator)?,
            age: Duration::from_millis(pair.age_ms),
        })
    }
}

impl From<&super::Record> for Record {
    fn from(record: &super::Record) -> Self {
        Self {
            grant: record.grant.to_vec(),
            cookie: record.cookie.as_bytes().to_vec(),
            tenant: record.tenant.to_vec(),
            device: record.device.to_vec(),
            operator: record.operator.to_vec(),
            initiator: record.initiator.to_string(),
            lasted_ms: millis(record.lasted),
            moved: moved(&record.end),
            reason: record.end.reason.into(),
        }
    }
}

impl TryFrom<Record> for super::Record {
    type Error = NotUnderstood;

    fn try_from(record: Record) -> Result<Self, NotUnderstood> {
        Ok(Self {
            grant: record.grant[..].try_into().map_err(|_| NotUnderstood("grant"))?,
            cookie: cookie(&record.cookie)?,
            tenant: record.tenant[..].try_into().map_err(|_| NotUnderstood("tenant"))?,
            device: record.device[..].try_into().map_err(|_| NotUnderstood("device"))?,
            operator: record.operator[..].try_into().map_err(|_| NotUnderstood("operator"))?,
            initiator: address(&record.initiator)?,
            lasted: Duration::from_millis(record.lasted_ms),
            end: end(record.moved, record.reason),
        })
    }
}

impl From<&super::Carry> for Carry {
    fn from(carry: &super::Carry) -> Self {
        Self {
            pair: carry.pair.0,
            moved: Some(carry.moved.into()),
            silent_ms: millis(carry.silent),
            there: Some((&carry.there).into()),
            back: Some((&carry.back).into()),
        }
    }
}

impl TryFrom<Carry> for super::Carry {
    type Error = NotUnderstood;

    fn try_from(carry: Carry) -> Result<Self, NotUnderstood> {
        Ok(Self {
            pair: PairId(carry.pair),
            moved: carry.moved.unwrap_or_default().into(),
            silent: Duration::from_millis(carry.silent_ms),
            there: carry.there.ok_or(NotUnderstood(ONE_WAY))?.try_into()?,
            back: carry.back.ok_or(NotUnderstood(ONE_WAY))?.try_into()?,
        })
    }
}

impl From<&super::Way> for Way {
    fn from(way: &super::Way) -> Self {
        let stage = match way {
            super::Way::Open => Stage::Open(Nothing {}),
            super::Way::Copied(bytes) => Stage::Copied(bytes.clone()),
            super::Way::Spliced(held) => Stage::Spliced(*held),
            super::Way::Ended => Stage::Ended(Nothing {}),
        };
        Self { stage: Some(stage) }
    }
}

impl TryFrom<Way> for super::Way {
    type Error = NotUnderstood;

    fn try_from(way: Way) -> Result<Self, NotUnderstood> {
        Ok(match way.stage.ok_or(NotUnderstood("how far a pair has come"))? {
            Stage::Open(Nothing {}) => Self::Open,
            Stage::Copied(bytes) => Self::Copied(bytes),
            Stage::Spliced(held) => Self::Spliced(held),
            Stage::Ended(Nothing {}) => Self::Ended,
        })
    }
}

impl From<super::Moved> for Moved {
    fn from(moved: super::Moved) -> Self {
        Self { to_target: moved.to_target, to_initiator: moved.to_initiator }
    }
}

impl From<Moved> for super::Moved {
    fn from(moved: Moved) -> Self {
        Self { to_target: moved.to_target, to_initiator: moved.to_initiator }
    }
}

fn moved(end: &PairEnd) -> Option<Moved> {
    Some(Moved { to_target: end.to_target, to_initiator: end.to_initiator })
}

/// A reason of a later version is one that is not known.
fn end(moved: Option<Moved>, reason: i32) -> PairEnd {
    let Moved { to_target, to_initiator } = moved.unwrap_or_default();
    let reason = EndReason::try_from(reason).unwrap_or(EndReason::Unknown);
    PairEnd { to_target, to_initiator, reason }
}

fn address(text: &str) -> Result<SocketAddr, NotUnderstood> {
    text.parse().map_err(|_| NotUnderstood("address"))
}

fn cookie(bytes: &[u8]) -> Result<Cookie, NotUnderstood> {
    bytes.try_into().map_err(|_| NotUnderstood("cookie"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const ONE_WAY: &str = "a pair with one way";
