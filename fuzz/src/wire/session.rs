//! The session: one end against a peer that sends anything, and two honest ends on a slow line.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use klnet_wire::frame::{FrameError, HEADER_LEN, Header};
use klnet_wire::message::{
    GoAway, Goodbye, Hello, Kind, Message, Open, ProtocolError, Revoke, TunnelState, Welcome,
};
use klnet_wire::outbox::Full;
use klnet_wire::session::{CloseReason, Config, Event, Input, Output, SendError, Session};

use crate::script::Script;

/// One end, whose peer, clock and application all do as the script says.
pub fn session(data: &[u8]) {
    let mut script = Script::new(data);
    let mut end = match script.coin() {
        true => Driven::agent(),
        false => Driven::server(),
    };
    while let Some(decision) = script.decision() {
        match decision % 12 {
            0 => end.receive(script.bytes(u16::MAX)),
            1 => end.receive(&framed(&mut script)),
            2 => end.receive(&encoded(&any_message(&mut script))),
            3 => end.pass(script.duration()),
            4 => end.pass_to_timeout(),
            5 => end.welcome(&mut script),
            6 => end.send(&any_message(&mut script)),
            7 => end.session.ping(end.now),
            8 => end.end(&mut script),
            9 => end.session.handle_input(end.now, Input::Eof),
            // The application is slow, the peer reads: everything else piles up and stays bounded.
            10 => drop(end.poll()),
            _ => end.drain(),
        }
        assert!(end.session.held() <= HELD_LIMIT, "{} bytes held", end.session.held());
    }
    end.drain();
}

/// Two honest ends whose bytes arrive late and in pieces never accuse each other of breaking the protocol.
pub fn session_pair(data: &[u8]) {
    let mut script = Script::new(data);
    let (mut agent, mut server) = (Driven::agent(), Driven::server());
    let (mut up, mut down) = (VecDeque::new(), VecDeque::new());
    while let Some(decision) = script.decision() {
        let (end, sent, coming) = match decision & 1 {
            0 => (&mut agent, &mut up, &mut down),
            _ => (&mut server, &mut down, &mut up),
        };
        match (decision >> 1) % 8 {
            0..=2 => end.take_some(coming, script.short()),
            3 | 4 => sent.extend(end.drained()),
            5 => end.welcome(&mut script),
            6 if script.coin() => end.pass(script.duration()),
            6 => end.session.ping(end.now),
            _ if decision > 250 => end.leave(),
            _ => end.send(&any_message(&mut script)),
        }
        let (a, s) = (agent.now, server.now);
        (agent.now, server.now) = (a.max(s), a.max(s));
    }
    for _ in 0..2 {
        up.extend(agent.drained());
        server.take_some(&mut up, u16::MAX);
        down.extend(server.drained());
        agent.take_some(&mut down, u16::MAX);
    }
    for end in [&agent, &server] {
        assert!(!end.closed.as_ref().is_some_and(accuses), "{:?}", end.closed);
    }
}

fn accuses(reason: &CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::Frame(_)
            | CloseReason::Message(_)
            | CloseReason::Unexpected(_)
            | CloseReason::Version(..)
    )
}

/// A session with a clock of its own, checked at each output.
struct Driven {
    session: Session,
    now: Instant,
    closed: Option<CloseReason>,
}

impl Driven {
    fn agent() -> Self {
        let (now, build) = (Instant::now(), "fuzz".to_owned());
        let hello = Hello { build, epoch: EPOCH, ..Hello::default() };
        let session = Session::agent(now, Config::default(), hello).expect("a short hello fits");
        Self { session, now, closed: None }
    }

    fn server() -> Self {
        let now = Instant::now();
        Self { session: Session::server(now, Config::default()), now, closed: None }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.session.handle_input(self.now, Input::Received(bytes));
    }

    fn take_some(&mut self, coming: &mut VecDeque<u8>, most: u16) {
        let some: Vec<u8> = coming.drain(..usize::from(most).min(coming.len())).collect();
        self.receive(&some);
    }

    fn pass(&mut self, duration: Duration) {
        self.now += duration;
        self.session.handle_timeout(self.now);
        let next = self.session.poll_timeout();
        assert!(next.is_none_or(|next| next > self.now), "a timeout that was handled is over");
    }

    fn pass_to_timeout(&mut self) {
        if let Some(next) = self.session.poll_timeout() {
            self.pass(next.saturating_duration_since(self.now));
        }
    }

    fn welcome(&mut self, script: &mut Script<'_>) {
        let welcome = Welcome { heartbeat_ms: script.number(), epoch: 1, ..Welcome::default() };
        match self.session.welcome(self.now, welcome) {
            Ok(()) | Err(SendError::NotNow(_)) => {}
            Err(error) => panic!("an opening session has room for its WELCOME: {error}"),
        }
    }

    fn send(&mut self, message: &Message) {
        match self.session.send(self.now, message) {
            Ok(()) | Err(SendError::NotNow(_) | SendError::Full(Full::Stalled(_))) => {}
            Err(SendError::Full(Full::TooLong(FrameError::TooLong(_)))) => {}
        }
    }

    fn end(&mut self, script: &mut Script<'_>) {
        match script.coin() {
            true => self.session.refuse(&script.text()),
            false => self.session.finish(&any_message(script), "done"),
        }
    }

    /// Ends an established session in order, as its side does.
    fn leave(&mut self) {
        let (goodbye, go_away) = (Message::Goodbye(Goodbye::default()), Message::GoAway(GoAway::default()));
        if self.session.send(self.now, &goodbye).is_ok() {
            self.session.finish(&goodbye, "done");
        } else if self.session.send(self.now, &go_away).is_ok() {
            self.session.finish(&go_away, "done");
        }
    }

    fn poll(&mut self) -> Option<Output> {
        let output = self.session.poll_output()?;
        assert_eq!(self.closed, None, "nothing follows a close");
        match &output {
            Output::Close(reason) => self.closed = Some(reason.clone()),
            Output::Transmit(bytes) => assert!(!bytes.is_empty() && bytes.len() <= RECORD),
            Output::Event(Event::Message(message)) => {
                assert!(!matches!(message.kind(), Kind::Hello | Kind::Welcome | Kind::Ping | Kind::Error));
            }
            Output::Event(_) => {}
        }
        Some(output)
    }

    fn drain(&mut self) {
        drop(self.drained());
    }

    /// Drains the outputs and gives the bytes to write.
    fn drained(&mut self) -> Vec<u8> {
        let mut sent = Vec::new();
        for _ in 0..OUTPUTS_LIMIT {
            match self.poll() {
                Some(Output::Transmit(bytes)) => sent.extend_from_slice(&bytes),
                Some(_) => {}
                None => return sent,
            }
        }
        panic!("the outputs never end");
    }
}

/// A well-formed frame of any kind with any payload.
fn framed(script: &mut Script<'_>) -> Vec<u8> {
    let (kind, flags, stream) = (script.byte() % 0x30, script.byte(), u32::from(script.byte() == 255));
    let payload = script.bytes(512);
    let len = u16::try_from(payload.len()).expect("at most 512");
    [&Header { len, kind, flags, stream }.encode(), payload].concat()
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut wire = BytesMut::new();
    let fits = message.encode(0, &mut wire).is_ok();
    assert!(fits || wire.is_empty(), "what does not fit leaves no trace");
    wire.to_vec()
}

/// A message of any kind, of a length up to one that does not fit.
fn any_message(script: &mut Script<'_>) -> Message {
    let choice = script.byte();
    let blob = Bytes::from(vec![choice; usize::from(script.short() % 17_000)]);
    let reason = script.text();
    match choice % 10 {
        0 => {
            Message::Hello(Box::new(Hello { minor_max: script.number(), build: reason, ..Hello::default() }))
        }
        1 => Message::Welcome(Welcome { heartbeat_ms: script.number(), ..Welcome::default() }),
        2 => Message::Ping,
        3 => Message::Pong,
        4 => Message::GoAway(GoAway { reason, ..GoAway::default() }),
        5 => Message::Goodbye(Goodbye { reason }),
        6 => Message::Open(Open { cookie: blob, ..Open::default() }),
        7 => Message::Revoke(Revoke { grants: vec![blob], reason }),
        8 => Message::TunnelState(TunnelState { grant: blob, reason, ..TunnelState::default() }),
        _ => Message::Error(ProtocolError { reason }),
    }
}

/// What a stalled peer may hold at most (PROTOCOL.md, 10).
const HELD_LIMIT: usize = 64 * 1024;
/// The epoch the agent drew; the seeds' WELCOME repeats it.
const EPOCH: u64 = 77;
/// The plaintext of one TLS record (RFC 8446, 5.1).
const RECORD: usize = 16 * 1024;
/// More outputs than any input of the scripts can make: an event per header, and the outbox.
const OUTPUTS_LIMIT: usize = 100_000;

const _: () = assert!(HELD_LIMIT / HEADER_LEN < OUTPUTS_LIMIT);
