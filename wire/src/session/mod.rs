//! A session between an agent and a server: negotiation, heartbeats, bounded output. Bytes and time in, decisions out.
//!
//! | state | the agent waits for | the server waits for |
//! |---|---|---|
//! | `Opening` | WELCOME | HELLO |
//! | `Deciding` | - | the application's `welcome` |
//! | `Established` | anything | anything |
//! | `Closed` | nothing more happens | nothing more happens |

mod config;
mod event;
mod heart;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::frame::Header;
use crate::message::{End, Hello, Kind, Message, MessageError, ProtocolError, Queueing, Welcome};
use crate::outbox::{Full, Outbox};
pub use config::{Config, FEATURES, MINOR_MAX, MINOR_MIN, negotiate};
pub use event::{CloseReason, Event, Input, Output, SendError};
use heart::Heart;
pub use heart::{HEARTBEAT_MAX, HEARTBEAT_MIN, QUIET};

/// One end of a session. Drain [`Session::poll_output`] after each `&mut` call.
#[derive(Debug)]
pub struct Session {
    end: End,
    config: Config,
    state: State,
    input: BytesMut,
    outbox: Outbox,
    /// What one [`Session::handle_input`] makes: an event for each frame it completes, so at most one for every 8 bytes
    /// and one more. The driver reads at most 4 KiB, and only once everything before was taken: 513 events.
    events: VecDeque<Event>,
    /// Counts heartbeats, to jitter each differently.
    beats: u64,
}

#[derive(Debug)]
enum State {
    /// Until the peer's first frame; the agent's WELCOME must repeat `epoch`.
    Opening {
        deadline: Instant,
        epoch: u64,
    },
    /// Server only: HELLO is in, the application decides.
    Deciding {
        hello: Box<Hello>,
        deadline: Instant,
    },
    Established(Heart),
    /// `reported` once the application has taken the reason.
    Closed {
        reason: CloseReason,
        reported: bool,
    },
}

impl Session {
    /// Starts the agent's end: HELLO goes out at once.
    ///
    /// # Errors
    /// [`Full::TooLong`] when `hello` does not fit in a frame.
    pub fn agent(now: Instant, config: Config, hello: Hello) -> Result<Self, Full> {
        let mut session = Self::new(now, End::Agent, config, hello.epoch);
        session.outbox.push(&Message::Hello(Box::new(hello)), 0)?;
        Ok(session)
    }

    /// Starts the server's end, which waits for HELLO.
    pub fn server(now: Instant, config: Config) -> Self {
        Self::new(now, End::Server, config, 0)
    }

    /// `epoch`: what WELCOME must repeat to the agent.
    fn new(now: Instant, end: End, config: Config, epoch: u64) -> Self {
        let state = State::Opening { deadline: now + config.hello_timeout, epoch };
        let (input, outbox) = (BytesMut::new(), Outbox::default());
        Self { end, config, state, input, outbox, events: VecDeque::new(), beats: 0 }
    }

    /// Takes in what happened on the transport.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Received(bytes) => self.received(now, bytes),
            Input::Eof => self.close(CloseReason::Eof),
            Input::Failed(error) => self.close(CloseReason::Transport(error)),
        }
    }

    /// Sends the heartbeat that is due, and gives up on a silent peer.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &self.state {
            State::Opening { deadline, .. } | State::Deciding { deadline, .. } if now >= *deadline => {
                self.close(CloseReason::Silent(self.config.hello_timeout));
            }
            State::Established(heart) => self.beat(now, *heart),
            _ => {}
        }
    }

    /// Server: establishes the session with what was decided about the agent's HELLO.
    ///
    /// `welcome.minor`, `welcome.features` and `welcome.epoch` are filled in from HELLO.
    ///
    /// # Errors
    /// [`SendError::NotNow`] when no HELLO waits for an answer.
    pub fn welcome(&mut self, now: Instant, mut welcome: Welcome) -> Result<(), SendError> {
        let State::Deciding { hello, .. } = &self.state else { return Err(SendError::NotNow(Kind::Welcome)) };
        let Some(minor) = negotiate(hello.minor_min, hello.minor_max) else {
            return Err(SendError::NotNow(Kind::Welcome));
        };
        welcome.minor = minor;
        welcome.epoch = hello.epoch;
        welcome.features = hello.features & FEATURES;
        let heartbeat = welcome.heartbeat();
        self.outbox.push(&Message::Welcome(welcome), 0)?;
        self.state = State::Established(Heart::new(now, heartbeat, self.jitter(heartbeat)));
        Ok(())
    }

    /// Queues a message. What someone waits for must not wait in turn for the heartbeat to find the peer gone: a peer
    /// that was not heard for [`QUIET`] is asked for a sign of life with it.
    ///
    /// # Errors
    /// [`SendError`] when the session is not established, this end may not send the kind, or the peer is stalled.
    pub fn send(&mut self, now: Instant, message: &Message) -> Result<(), SendError> {
        let kind = message.kind();
        let State::Established(heart) = &self.state else { return Err(SendError::NotNow(kind)) };
        if matches!(kind, Kind::Hello | Kind::Welcome) || !kind.may_send(self.end) {
            return Err(SendError::NotNow(kind));
        }
        let ask = kind.queueing() == Queueing::Queued && heart.is_quiet(now);
        self.outbox.push(message, 0)?;
        if ask {
            self.ping(now);
        }
        Ok(())
    }

    /// Asks the peer to show that it is alive: the answer is [`Event::Pong`], or the session ends.
    pub fn ping(&mut self, now: Instant) {
        let State::Established(heart) = &mut self.state else { return };
        heart.awaiting.get_or_insert(now);
        // A full outbox ends by its own deadline: the PONG will not come.
        let _ = self.outbox.push(&Message::Ping, 0);
    }

    /// Ends the session and tells the peer why.
    pub fn refuse(&mut self, reason: &str) {
        let last = Message::Error(ProtocolError { reason: reason.to_owned() });
        self.finish(&last, reason);
    }

    /// Ends the session with `last` as the last message.
    pub fn finish(&mut self, last: &Message, reason: &str) {
        if matches!(self.state, State::Closed { .. }) {
            return; // the last word was said
        }
        // A peer too slow for the last word does without it.
        let _ = self.outbox.push(last, 0);
        self.close(CloseReason::Local(reason.to_owned()));
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(event) = self.events.pop_front() {
            if self.events.is_empty() {
                self.events = VecDeque::new(); // what a burst needed is not kept
            }
            return Some(Output::Event(event));
        }
        if let Some(bytes) = self.outbox.pop() {
            return Some(Output::Transmit(bytes));
        }
        match &mut self.state {
            State::Closed { reason, reported } if !*reported => {
                *reported = true;
                Some(Output::Close(reason.clone()))
            }
            _ => None,
        }
    }

    /// When to call [`Session::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Opening { deadline, .. } | State::Deciding { deadline, .. } => Some(*deadline),
            State::Established(heart) => Some(self.next_deadline(heart)),
            State::Closed { .. } => None,
        }
    }

    /// Bytes this session holds: what waits for the peer, and what came of its next frame.
    pub fn held(&self) -> usize {
        self.outbox.len() + self.input.len()
    }

    fn received(&mut self, now: Instant, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while !matches!(self.state, State::Closed { .. }) {
            match self.next_message() {
                Ok(Some(message)) => self.take(now, message),
                Ok(None) => break,
                Err(reason) => self.close(reason),
            }
        }
        if self.input.is_empty() {
            self.input = BytesMut::new(); // an idle session keeps no buffer
        }
    }

    fn next_message(&mut self) -> Result<Option<Message>, CloseReason> {
        while let Some((header, payload)) = Header::split(&mut self.input)? {
            // Streams of their own are for gateways, which this version does not negotiate.
            if header.stream != 0 {
                return Err(CloseReason::Message(MessageError::Unknown(header.kind)));
            }
            if let Some(message) = Message::read(header.kind, header.flags, payload)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    fn take(&mut self, now: Instant, message: Message) {
        let kind = message.kind();
        if !kind.may_send(self.end.other()) {
            return self.close(CloseReason::Unexpected(kind));
        }
        match (&mut self.state, message) {
            (_, Message::Error(error)) => self.close(CloseReason::Peer(error.reason)),
            (State::Opening { .. }, Message::Hello(hello)) => self.hello(now, hello),
            (State::Opening { epoch, .. }, Message::Welcome(welcome)) if welcome.epoch != *epoch => {
                self.close(CloseReason::Epoch);
            }
            (State::Opening { .. }, Message::Welcome(welcome)) => self.welcomed(now, welcome),
            (State::Opening { .. }, Message::GoAway(message)) => {
                self.event(Event::Message(Message::GoAway(message)))
            }
            (State::Established(heart), message) => {
                heart.last_heard = now;
                self.established(now, message);
            }
            _ => self.close(CloseReason::Unexpected(kind)),
        }
    }

    fn hello(&mut self, now: Instant, hello: Box<Hello>) {
        if negotiate(hello.minor_min, hello.minor_max).is_none() {
            let reason = CloseReason::Version(hello.minor_min, hello.minor_max);
            let last = ProtocolError { reason: reason.to_string() };
            let _ = self.outbox.push(&Message::Error(last), 0);
            return self.close(reason);
        }
        self.event(Event::Hello(hello.clone()));
        self.state = State::Deciding { hello, deadline: now + self.config.hello_timeout };
    }

    fn welcomed(&mut self, now: Instant, welcome: Welcome) {
        if !(MINOR_MIN..=MINOR_MAX).contains(&welcome.minor) {
            return self.close(CloseReason::Version(welcome.minor, welcome.minor));
        }
        let heartbeat = welcome.heartbeat();
        self.state = State::Established(Heart::new(now, heartbeat, self.jitter(heartbeat)));
        self.event(Event::Welcome(welcome));
    }

    fn established(&mut self, now: Instant, message: Message) {
        match message {
            Message::Ping => {
                self.event(Event::Heartbeat);
                // A peer that does not read our answers will miss them and leave.
                let _ = self.outbox.push(&Message::Pong, 0);
            }
            Message::Pong => self.pong(now),
            message @ (Message::Hello(_) | Message::Welcome(_)) => {
                self.close(CloseReason::Unexpected(message.kind()));
            }
            message => self.event(Event::Message(message)),
        }
    }

    fn pong(&mut self, now: Instant) {
        let State::Established(heart) = &mut self.state else { return };
        if let Some(sent) = heart.awaiting.take() {
            self.event(Event::Pong(now.saturating_duration_since(sent)));
        }
    }

    fn beat(&mut self, now: Instant, heart: Heart) {
        let overdue = |since: Instant, limit: Duration| (now >= since + limit).then_some(limit);
        let unanswered = heart.awaiting.and_then(|sent| overdue(sent, self.config.pong_timeout));
        let silent = overdue(heart.last_heard, heart.silence());
        if let Some(limit) = unanswered.or(silent) {
            return self.close(CloseReason::Silent(limit));
        }
        if self.end == End::Agent && now >= heart.next_ping {
            self.beats += 1;
            let next_ping = now + self.jitter(heart.heartbeat);
            if let State::Established(heart) = &mut self.state {
                heart.next_ping = next_ping;
            }
            self.ping(now);
        }
    }

    fn next_deadline(&self, heart: &Heart) -> Instant {
        let silence = heart.last_heard + heart.silence();
        let pong = heart.awaiting.map(|sent| sent + self.config.pong_timeout);
        let ping = (self.end == End::Agent).then_some(heart.next_ping);
        [pong, ping].into_iter().flatten().fold(silence, Instant::min)
    }

    fn jitter(&self, heartbeat: Duration) -> Duration {
        heart::jitter(heartbeat, self.config.jitter_seed.wrapping_add(self.beats))
    }

    fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    fn close(&mut self, reason: CloseReason) {
        if !matches!(self.state, State::Closed { .. }) {
            self.state = State::Closed { reason, reported: false };
            self.input = BytesMut::new();
        }
    }
}

impl End {
    /// The other end.
    pub const fn other(self) -> Self {
        match self {
            Self::Agent => Self::Server,
            Self::Server => Self::Agent,
        }
    }
}
