use std::collections::VecDeque;

use super::*;
use crate::frame::{Frame, HEADER_LEN};
use crate::message::{GoAway, Open, TunnelState};

const HEARTBEAT: Duration = Duration::from_secs(30);

#[test]
fn hello_and_welcome_establish_both_ends() {
    let mut pair = Pair::new();
    assert_eq!(pair.run(), [(End::Server, Event::Hello(Box::new(hello())))]);
    pair.server.welcome(pair.now, welcome()).unwrap();
    let negotiated = Welcome { features: FEATURES, ..welcome() };
    assert_eq!(pair.run(), [(End::Agent, Event::Welcome(negotiated))]);
}

#[test]
fn heartbeats_keep_a_session_for_a_day_and_cost_little() {
    let mut pair = Pair::established();
    let beats = pair.advance(Duration::from_secs(24 * 3600));
    let beats = beats.iter().filter(|(_, event)| *event == Event::Heartbeat).count();
    assert!((2400..=3600).contains(&beats), "{beats}");
    assert_eq!(pair.closed, []);
}

#[test]
fn a_silent_agent_is_given_up_after_two_and_a_half_heartbeats() {
    let mut pair = Pair::established();
    pair.cut = true;
    pair.advance(HEARTBEAT * 5 / 2 - Duration::from_millis(1));
    assert!(!pair.closed.contains(&(End::Server, CloseReason::Silent(HEARTBEAT * 5 / 2))));
    pair.advance(Duration::from_millis(1));
    assert!(pair.closed.contains(&(End::Server, CloseReason::Silent(HEARTBEAT * 5 / 2))));
}

#[test]
fn an_agent_leaves_a_server_that_does_not_answer_its_ping() {
    let mut pair = Pair::established();
    pair.cut = true;
    pair.advance(HEARTBEAT.mul_f64(1.2) + Duration::from_secs(10));
    assert!(pair.closed.contains(&(End::Agent, CloseReason::Silent(Duration::from_secs(10)))));
}

#[test]
fn a_server_can_ask_whether_an_agent_is_still_there() {
    let mut pair = Pair::established();
    pair.server.ping(pair.now);
    assert!(pair.run().contains(&(End::Server, Event::Pong(Duration::ZERO))));
}

#[test]
fn a_message_to_a_vanished_peer_ends_the_session_long_before_the_heartbeat() {
    for end in [End::Server, End::Agent] {
        let mut pair = Pair::established_with(Duration::from_secs(900));
        pair.advance(QUIET);
        pair.cut = true;
        pair.send(end);
        pair.advance(Duration::from_secs(10));
        assert_eq!(pair.closed, [(end, CloseReason::Silent(Duration::from_secs(10)))]);
    }
}

#[test]
fn a_peer_that_answers_keeps_its_session() {
    let mut pair = Pair::established_with(Duration::from_secs(900));
    pair.advance(QUIET);
    pair.send(End::Server);
    let heard = pair.run();
    pair.advance(Duration::from_secs(10));
    assert!(heard.contains(&(End::Server, Event::Pong(Duration::ZERO))), "{heard:?}");
    assert_eq!(pair.closed, []);
}

#[test]
fn a_peer_heard_lately_is_not_asked_for_a_sign_of_life() {
    let mut pair = Pair::established_with(Duration::from_secs(900));
    pair.advance(QUIET - Duration::from_millis(1));
    for end in [End::Server, End::Agent] {
        pair.send(end);
    }
    let heard = pair.run();
    assert!(!heard.iter().any(|(_, event)| matches!(event, Event::Pong(_) | Event::Heartbeat)), "{heard:?}");
}

#[test]
fn a_stalled_peer_holds_at_most_64_kib() {
    let mut pair = Pair::established();
    let open = Message::Open(Open { grant: vec![7; 1000].into(), ..Open::default() });
    let refused = (0..1000).find_map(|_| pair.server.send(pair.now, &open).err()).unwrap();
    assert!(matches!(refused, SendError::Full(Full::Stalled(_))));
    let go_away = Message::GoAway(GoAway::default());
    for _ in 0..1000 {
        pair.server.send(pair.now, &go_away).expect("the newest control message replaces the older one");
    }
    assert!(pair.server.held() <= 64 * 1024);
}

#[test]
fn an_unknown_frame_is_skipped_only_if_it_says_so() {
    let mut pair = Pair::established();
    pair.server
        .handle_input(pair.now, Input::Received(&[0, 1, 0x7e, crate::frame::IGNORABLE, 0, 0, 0, 0, 42]));
    assert_eq!(pair.run(), []);
    assert_eq!(pair.closed, []);
    pair.server.handle_input(pair.now, Input::Received(&[0, 1, 0x7e, 0, 0, 0, 0, 0, 42]));
    pair.run();
    assert_eq!(pair.closed[0], (End::Server, CloseReason::Message(MessageError::Unknown(0x7e))));
}

#[test]
fn no_message_is_taken_from_an_end_that_may_not_send_it() {
    for kind in Kind::ALL {
        for end in [End::Agent, End::Server] {
            if kind.may_send(end) {
                continue;
            }
            let mut pair = Pair::established();
            let to = match end {
                End::Agent => &mut pair.server,
                End::Server => &mut pair.agent,
            };
            assert!(
                matches!(to.send(pair.now, &sample(kind)), Err(SendError::NotNow(_)))
                    || kind.may_send(end.other())
            );
            let mut bytes = BytesMut::new();
            sample(kind).encode(0, &mut bytes).unwrap();
            to.handle_input(pair.now, Input::Received(&bytes));
            pair.run();
            assert_eq!(pair.closed[0], (end.other(), CloseReason::Unexpected(kind)), "{kind:?} by {end:?}");
        }
    }
}

#[test]
fn versions_that_do_not_meet_are_refused_with_the_reason() {
    let mut pair = Pair::new();
    pair.agent =
        Session::agent(pair.now, Config::default(), Hello { minor_min: 7, minor_max: 9, ..hello() }).unwrap();
    pair.run();
    let told = CloseReason::Peer(CloseReason::Version(7, 9).to_string());
    assert_eq!(pair.closed, [(End::Server, CloseReason::Version(7, 9)), (End::Agent, told)]);
}

#[test]
fn a_welcome_of_another_session_is_refused() {
    let mut pair = Pair::new();
    pair.run();
    let mut replayed = BytesMut::new();
    Message::Welcome(Welcome { epoch: 6, ..welcome() }).encode(0, &mut replayed).unwrap();
    pair.agent.handle_input(pair.now, Input::Received(&replayed));
    pair.run();
    assert_eq!(pair.closed, [(End::Agent, CloseReason::Epoch)]);
}

#[test]
fn nothing_is_said_after_the_last_word() {
    let mut pair = Pair::established();
    pair.server.finish(&Message::GoAway(GoAway::default()), "moved");
    pair.run();
    pair.server.refuse("again");
    assert_eq!(pair.server.poll_output(), None);
}

#[test]
fn half_a_hello_ends_at_its_deadline() {
    let start = Instant::now();
    let mut server = Session::server(start, Config::default());
    server.handle_input(start, Input::Received(&[0, 9, 1]));
    let deadline = server.poll_timeout().unwrap();
    server.handle_timeout(deadline);
    assert!(matches!(server.poll_output(), Some(Output::Close(CloseReason::Silent(_)))));
    assert_eq!(server.poll_output(), None);
}

#[test]
fn input_in_single_bytes_is_the_same_input() {
    let mut pair = Pair::new();
    pair.piece = 1;
    pair.run();
    pair.server.welcome(pair.now, welcome()).unwrap();
    assert_eq!(pair.run().len(), 1);
}

#[test]
fn an_idle_session_keeps_no_buffer() {
    let mut pair = Pair::established();
    pair.advance(HEARTBEAT * 3);
    assert_eq!((pair.server.input.capacity(), pair.server.held()), (0, 0));
}

#[test]
fn one_read_makes_at_most_an_event_for_each_header() {
    let mut pair = Pair::established();
    let pings = vec![[0, 0, Kind::Ping as u8, 0, 0, 0, 0, 0]; 4096 / HEADER_LEN].concat();
    pair.server.handle_input(pair.now, Input::Received(&pings));
    assert_eq!(pair.server.events.len(), 512);
    pair.run();
    assert_eq!(pair.server.events.capacity(), 0, "a burst leaves nothing behind");
}

/// Two ends in virtual time.
struct Pair {
    now: Instant,
    agent: Session,
    server: Session,
    closed: Vec<(End, CloseReason)>,
    /// Bytes handed over at once.
    piece: usize,
    /// Whether everything written is lost.
    cut: bool,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let agent = Session::agent(now, Config::default(), hello()).unwrap();
        let server = Session::server(now, Config::default());
        Self { now, agent, server, closed: Vec::new(), piece: 4096, cut: false }
    }

    fn established() -> Self {
        Self::established_with(HEARTBEAT)
    }

    fn established_with(heartbeat: Duration) -> Self {
        let mut pair = Self::new();
        pair.run();
        let heartbeat_ms = u32::try_from(heartbeat.as_millis()).unwrap();
        pair.server.welcome(pair.now, Welcome { heartbeat_ms, ..welcome() }).unwrap();
        pair.run();
        pair
    }

    /// Lets an end say something that the other is to act on.
    fn send(&mut self, end: End) {
        let (from, message) = match end {
            End::Server => (&mut self.server, Message::Open(Open::default())),
            End::Agent => (&mut self.agent, Message::TunnelState(TunnelState::default())),
        };
        from.send(self.now, &message).unwrap();
    }

    /// Hands everything over until both ends are quiet.
    fn run(&mut self) -> Vec<(End, Event)> {
        let mut events = Vec::new();
        loop {
            let before = (events.len(), self.closed.len());
            let moved = self.drain(End::Agent, &mut events) | self.drain(End::Server, &mut events);
            if !moved && before == (events.len(), self.closed.len()) {
                return events;
            }
        }
    }

    fn drain(&mut self, end: End, events: &mut Vec<(End, Event)>) -> bool {
        let (from, to) = match end {
            End::Agent => (&mut self.agent, &mut self.server),
            End::Server => (&mut self.server, &mut self.agent),
        };
        let mut outputs: VecDeque<Output> = std::iter::from_fn(|| from.poll_output()).collect();
        let moved = !outputs.is_empty();
        while let Some(output) = outputs.pop_front() {
            match output {
                Output::Event(event) => events.push((end, event)),
                Output::Transmit(bytes) if !self.cut => {
                    bytes
                        .chunks(self.piece)
                        .for_each(|piece| to.handle_input(self.now, Input::Received(piece)));
                }
                Output::Transmit(_) => {}
                Output::Close(reason) => self.closed.push((end, reason)),
            }
        }
        moved
    }

    /// Lets time pass, timeout by timeout.
    fn advance(&mut self, duration: Duration) -> Vec<(End, Event)> {
        let end = self.now + duration;
        let mut events = Vec::new();
        loop {
            let next = [&self.agent, &self.server].into_iter().filter_map(Session::poll_timeout).min();
            self.now = next.map_or(end, |next| next.min(end));
            self.agent.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
            events.append(&mut self.run());
            if self.now == end {
                return events;
            }
        }
    }
}

fn hello() -> Hello {
    Hello {
        minor_max: MINOR_MAX,
        features: FEATURES,
        host_name: "device-1".into(),
        epoch: 5,
        ..Hello::default()
    }
}

fn welcome() -> Welcome {
    Welcome { heartbeat_ms: 30_000, reconnect_window_ms: 2_000, epoch: 5, ..Welcome::default() }
}

fn sample(kind: Kind) -> Message {
    let frame = Frame { kind: kind as u8, flags: 0, stream: 0, payload: bytes::Bytes::new() };
    Message::decode(&frame).unwrap().unwrap()
}
