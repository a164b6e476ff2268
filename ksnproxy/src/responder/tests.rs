use std::time::{Duration, Instant};

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::frame::{DATAGRAM_LIMIT, decode_verdicts, encode_query};
use crate::limiter::Rate;
use crate::subject::{Digest, Subject};
use crate::ticket::{Sealer, Ticket};
use crate::verdict::{Category, Reputation};

#[test]
fn a_source_is_challenged_before_anything_is_said_to_it() {
    let mut stage = Stage::new(true);
    let answer = stage.datagram(&plain(0, 7, &[key(1)])).unwrap();
    let header = Header::parse(&answer).unwrap();
    assert_eq!((header.op, header.serial, answer.len()), (Op::Challenge, 7, 24));
    let answer = stage.datagram(&plain(header.token, 8, &[key(1)])).unwrap();
    assert_eq!(stage.verdicts(&answer)[0].reputation, Reputation::Malicious);
}

#[test]
fn plain_queries_are_refused_unless_they_are_allowed() {
    let mut stage = Stage::new(false);
    let cookie = Header::parse(&stage.datagram(&plain(0, 7, &[key(1)])).unwrap()).unwrap().token;
    assert_eq!(stage.refusal(&plain(cookie, 8, &[key(1)])), Some(Reason::Plain));
    let stream = stage.respond(Channel::Stream(SOURCE), &mut plain(0, 9, &[key(1)]));
    assert_eq!(refusal(&stream.unwrap()), Some(Reason::Plain));
    let tls = stage.respond(Channel::Tls([3; 16]), &mut plain(0, 9, &[key(1)])).unwrap();
    assert_eq!(stage.verdicts(&tls).len(), 1);
}

#[test]
fn a_sealed_query_has_a_sealed_answer_and_only_one() {
    let mut stage = Stage::new(false);
    let (sealer, query) = stage.sealed(1, &[key(1), key(1)]);
    let mut answer = stage.datagram(&query).unwrap();
    assert!(answer.len() < query.len());
    let header = Header::parse(&answer).unwrap();
    let body = sealer.open(Direction::Answer, 1, &mut answer).unwrap();
    assert_eq!(decode_verdicts(&header, body).unwrap()[1].reputation, Reputation::Malicious);
    assert_eq!(stage.datagram(&query), None, "it was sent again");
}

#[test]
fn an_unknown_ticket_is_a_challenge_on_udp_and_a_refusal_on_tcp() {
    let mut stage = Stage::new(false);
    let (_, mut query) = stage.sealed(1, &[key(1)]);
    query[15] ^= 2;
    assert_eq!(Header::parse(&stage.datagram(&query).unwrap()).unwrap().op, Op::Challenge);
    let answer = stage.respond(Channel::Stream(SOURCE), &mut query).unwrap();
    assert_eq!(refusal(&answer), Some(Reason::Ticket));
}

#[test]
fn a_ticket_ends() {
    let mut stage = Stage::new(false);
    let (_, query) = stage.sealed(1, &[key(1)]);
    assert!(stage.datagram(&query).is_some());
    let (_, query) = stage.sealed(2, &[key(1)]);
    stage.now.unix += 3600;
    assert_eq!(Header::parse(&stage.datagram(&query).unwrap()).unwrap().op, Op::Challenge);
}

#[test]
fn what_is_not_known_waits_and_is_answered_in_its_place() {
    let mut stage = Stage::new(false);
    let (sealer, mut query) = stage.sealed(1, &[key(2), key(1), key(3)]);
    let mut room = [0; 1024];
    let response = stage.responder.respond(stage.now, Channel::Datagram(SOURCE), &mut query, &mut room);
    let Response::Waiting(mut waiting) = response else { panic!("{response:?}") };
    assert_eq!(waiting.missing(), [(0, key(2)), (2, key(3))]);
    let clean = Verdict { reputation: Reputation::Clean, ..Verdict::unknown(Duration::from_secs(9)) };
    assert!(!waiting.take(2, &clean));
    assert!(!waiting.take(2, &clean), "twice is once");
    assert!(waiting.take(0, &Verdict::unavailable(Duration::from_secs(5))));
    let length = waiting.finish(&mut room);
    let header = Header::parse(&room).unwrap();
    let body = sealer.open(Direction::Answer, 1, &mut room[..length]).unwrap();
    let said: Vec<_> =
        decode_verdicts(&header, body).unwrap().iter().map(|verdict| verdict.reputation).collect();
    assert_eq!(said, [Reputation::Unavailable, Reputation::Malicious, Reputation::Clean]);
}

#[test]
fn what_is_past_its_time_is_marked_and_asked_for_once_a_second() {
    let mut stage = Stage::new(true);
    stage.now.unix += 200;
    for _ in 0..5 {
        let verdict = stage.responder.lookup(stage.now, &key(1)).unwrap();
        assert!(verdict.stale);
        assert_eq!(verdict.age, Duration::from_secs(210));
    }
    assert_eq!(stage.responder.drain_refresh().collect::<Vec<_>>(), [key(1)]);
    stage.now.unix += 1;
    stage.responder.lookup(stage.now, &key(1)).unwrap();
    assert_eq!(stage.responder.drain_refresh().count(), 1);
}

#[test]
fn nothing_newer_is_wanted_while_nobody_can_be_asked() {
    let mut stage = Stage::new(true);
    stage.now.unix += 200;
    stage.responder.shared.rest(Duration::from_millis(2500), stage.now.unix);
    for expected in [0, 0, 1] {
        assert!(stage.responder.lookup(stage.now, &key(1)).unwrap().stale);
        assert_eq!(stage.responder.drain_refresh().count(), expected);
        stage.now.unix += 1;
    }
}

#[test]
fn what_is_hot_is_asked_for_before_its_time_is_over_and_what_is_cold_is_not() {
    let mut stage = Stage::new(true);
    stage.now.unix += 95;
    for expected in [0, 0, 0, 1] {
        assert!(!stage.responder.lookup(stage.now, &key(1)).unwrap().stale);
        assert_eq!(stage.responder.drain_refresh().count(), expected);
    }
}

#[test]
fn who_asks_too_much_is_refused() {
    let mut stage = Stage::new(true);
    let cookie = stage.responder.shared.cookies.make(SOURCE, stage.now.unix);
    let keys = [key(1); 8];
    let answers = (0..20).map(|serial| stage.refusal(&plain(cookie, serial, &keys))).collect::<Vec<_>>();
    assert_eq!(answers.iter().filter(|answer| **answer == Some(Reason::Rate)).count(), 10);
}

#[test]
fn more_keys_than_a_datagram_may_have_are_not_answered() {
    let mut stage = Stage::new(true);
    let cookie = stage.responder.shared.cookies.make(SOURCE, stage.now.unix);
    assert_eq!(stage.datagram(&plain(cookie, 1, &[key(1); 9])), None);
    let mut query = plain(0, 1, &[key(1); 9]);
    assert!(stage.respond(Channel::Stream(SOURCE), &mut query).is_some());
}

proptest! {
    #[test]
    fn no_datagram_is_answered_with_more_than_it_has(
        mut frame in prop::collection::vec(any::<u8>(), 0..DATAGRAM_LIMIT),
        good in any::<[bool; 4]>(), op in 0..10_u8, count in 0..10_u8,
    ) {
        let mut stage = Stage::new(true);
        let length = frame.len();
        if let Some(header) = frame.first_chunk_mut::<24>() {
            header[..5].copy_from_slice(&[b'K', b'S', 1, op, u8::from(good[0])]);
            header[5] = count;
            header[6..8].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            if good[1] {
                let cookie = stage.responder.shared.cookies.make(SOURCE, stage.now.unix);
                header[8..16].copy_from_slice(&cookie.to_be_bytes());
            }
        }
        let answer = stage.datagram(&frame);
        prop_assert!(answer.is_none_or(|answer| answer.len() <= length));
    }
}

/// A responder that knows one key, until 100 seconds after it began.
struct Stage {
    responder: Responder,
    now: Moment,
    ticket: Ticket,
}

impl Stage {
    fn new(allow_plain: bool) -> Self {
        let now = Moment { instant: Instant::now(), unix: 1_000_000 };
        let shared = Shared {
            cache: Cache::new(1 << 16, [1; 16]),
            policy: Policy::default(),
            tickets: Tickets::new(10, 3600),
            cookies: Cookies::new([2; 16]),
            limiter: Limiter::new(Rate { keys: 80, burst: 80 }, [3; 16], now.instant),
            allow_plain,
            snapshot: ArcSwapOption::empty(),
            alone: false,
            rest: AtomicU32::new(0),
        };
        shared.cache.insert(
            &key(1),
            &Cached {
                reputation: Reputation::Malicious,
                category: Category::Malware,
                confidence: 100,
                partial: false,
                source: 1,
                tenth: 10,
                expires: now.unix + 100,
                said: now.unix - 10,
                asked: 0,
            },
        );
        let ticket = shared.tickets.issue([4; 16], &[4], &Zeroizing::new([5; 24]), now.unix).unwrap();
        Self { responder: Responder::new(Arc::new(shared), Arc::default()), now, ticket }
    }

    fn datagram(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        self.respond(Channel::Datagram(SOURCE), &mut frame.to_vec())
    }

    fn respond(&mut self, channel: Channel, frame: &mut [u8]) -> Option<Vec<u8>> {
        let mut room = [0; 8192];
        match self.responder.respond(self.now, channel, frame, &mut room) {
            Response::Answer(length) => Some(room[..length].to_vec()),
            _ => None,
        }
    }

    fn refusal(&mut self, frame: &[u8]) -> Option<Reason> {
        refusal(&self.datagram(frame)?)
    }

    fn verdicts(&self, answer: &[u8]) -> Vec<Verdict> {
        decode_verdicts(&Header::parse(answer).unwrap(), &answer[Header::LENGTH..]).unwrap()
    }

    fn sealed(&self, serial: u64, keys: &[Key]) -> (Sealer, Vec<u8>) {
        let sealer = Sealer::new(&self.ticket.key);
        let mut frame = Vec::new();
        encode_query(self.ticket.number, serial, keys, &mut frame);
        sealer.seal_query(&mut frame);
        (sealer, frame)
    }
}

fn plain(cookie: u64, serial: u64, keys: &[Key]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_query(cookie, serial, keys, &mut frame);
    frame
}

fn refusal(answer: &[u8]) -> Option<Reason> {
    let header = Header::parse(answer).ok().filter(|header| header.op == Op::Refused)?;
    Reason::from_number(header.count)
}

fn key(n: u8) -> Key {
    Subject::File(Digest::Sha256([n; 32]), None).key()
}

const SOURCE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 4000);
