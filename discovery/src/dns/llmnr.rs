//! Link-local multicast name resolution (RFC 4795): a host of the link is asked for its own name, and then for its
//! addresses of the other family.
//!
//! ```text
//! 9.0.1.10.in-addr.arpa PTR ──▶ pc-9 ──▶ pc-9 AAAA ──▶ fe80::9
//! ```
//! Questions go to a group that everybody on the link hears, so they are as far apart as the gentlest profile has it, and
//! are about addresses where somebody is. A host answers for itself alone: what comes from another address than the one
//! that was asked about is not taken. By IPv6 a host answers from its link-local address, whatever was asked about.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::cookie::CookieKey;
use crate::fact::{Claim, NameKind};
use crate::name::Text;
use crate::pacer::Pacer;
use crate::profile::Profile;

/// Something is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this to the group of this address's family.
    Send(IpAddr, Vec<u8>),
    /// An address has this name.
    Learned(IpAddr, Claim),
}

/// Asks hosts of the link who they are.
#[derive(Debug)]
pub struct Inquiry {
    key: CookieKey,
    pacer: Pacer,
    waiting: VecDeque<(Question, usize)>,
    flying: HashMap<u16, Flight>,
    /// Numbers the questions.
    serial: u16,
    outputs: VecDeque<Output>,
}

/// What is asked of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    host: IpAddr,
    about: About,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    Name,
    /// Its addresses of the other family, by this name.
    Addresses(Text),
}

#[derive(Debug)]
struct Flight {
    question: Question,
    attempt: usize,
    until: Instant,
}

impl Inquiry {
    /// Asks nobody yet; a key that nobody can guess draws the identifiers.
    pub fn new(now: Instant, key: CookieKey) -> Self {
        let (pacer, (waiting, flying, outputs)) =
            (Pacer::new(now, Profile::Gentle.pace()), Default::default());
        Self { key, pacer, waiting, flying, serial: 0, outputs }
    }

    /// Asks a host when its turn comes.
    pub fn ask(&mut self, now: Instant, host: IpAddr) {
        self.waiting.push_back((Question { host, about: About::Name }, 0));
        self.launch(now);
    }

    /// Whether so many wait for their turn that others should be kept back.
    pub fn is_busy(&self) -> bool {
        self.waiting.len() >= WINDOW
    }

    /// Takes in a datagram from an address of the link.
    pub fn handle_input(&mut self, now: Instant, from: IpAddr, bytes: &[u8]) {
        let Some(id) = bytes.first_chunk().map(|id| u16::from_be_bytes(*id)) else { return };
        let Some(flight) = self.flying.get(&id).filter(|flight| is_itself(flight.question.host, from)) else {
            return;
        };
        let Some(message) = answer(&flight.question, bytes) else { return };
        let Some(Flight { question: Question { host, about }, .. }) = self.flying.remove(&id) else { return };
        match about {
            About::Name => self.named(host, &message),
            About::Addresses(name) => {
                let claim = Claim::Name(NameKind::Local, name);
                let learned =
                    addresses(&message, host).map(|address| Output::Learned(address, claim.clone()));
                self.outputs.extend(learned);
            }
        }
        self.launch(now);
    }

    fn named(&mut self, host: IpAddr, message: &Message) {
        let name = message.answers.iter().take(RECORDS).find_map(|record| match &record.data {
            RData::PTR(name) => Text::host(&name.0.to_utf8()),
            _ => None,
        });
        if let Some(name) = name {
            self.outputs.push_back(Output::Learned(host, Claim::Name(NameKind::Local, name.clone())));
            self.waiting.push_back((Question { host, about: About::Addresses(name) }, 0));
        }
    }

    /// Asks again what was not answered in time, or gives up.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late = self.flying.iter().filter(|(_, flight)| flight.until <= now);
        let late: Vec<_> = late.map(|(id, _)| *id).collect();
        for id in late {
            let Some(Flight { question, attempt, .. }) = self.flying.remove(&id) else { continue };
            if attempt + 1 < TRIES {
                self.waiting.push_back((question, attempt + 1));
            }
        }
        self.launch(now);
    }

    /// Asks while there is room in flight, and on the link.
    fn launch(&mut self, now: Instant) {
        while self.flying.len() < WINDOW
            && self.pacer.allowance(now) > 0
            && let Some((question, attempt)) = self.waiting.pop_front()
        {
            let id = self.free_id(question.host);
            // What cannot be asked by this protocol is not asked.
            let Some(bytes) = question.to_bytes(id) else { continue };
            self.pacer.spend(now, 1);
            self.outputs.push_back(Output::Send(question.host, bytes));
            self.flying.insert(id, Flight { question, attempt, until: now + PATIENCE });
        }
    }

    /// An identifier that nothing in flight has.
    fn free_id(&mut self, host: IpAddr) -> u16 {
        loop {
            self.serial = self.serial.wrapping_add(1);
            let [a, b, ..] = self.key.cookie(host, self.serial).to_be_bytes();
            let id = u16::from_be_bytes([a, b]);
            if !self.flying.contains_key(&id) {
                return id;
            }
        }
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Inquiry::handle_timeout`] at the latest; `None` when everybody was asked.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let has_room = self.flying.len() < WINDOW && !self.waiting.is_empty();
        let next = has_room.then(|| self.pacer.wake());
        self.flying.values().map(|flight| flight.until).chain(next).min()
    }
}

impl Question {
    fn kind(&self) -> RecordType {
        match (&self.about, self.host) {
            (About::Name, _) => RecordType::PTR,
            (About::Addresses(_), IpAddr::V4(_)) => RecordType::AAAA,
            (About::Addresses(_), IpAddr::V6(_)) => RecordType::A,
        }
    }

    fn name(&self) -> Option<Name> {
        match &self.about {
            About::Name => Some(Name::from(self.host)),
            About::Addresses(name) => {
                let mut name = Name::from_ascii(name.as_str()).ok()?;
                name.set_fqdn(true);
                Some(name)
            }
        }
    }

    /// The question with this identifier; no bit of its header is set (RFC 4795, 2.1.1).
    fn to_bytes(&self, id: u16) -> Option<Vec<u8>> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = false;
        message.add_query(Query::query(self.name()?, self.kind()));
        message.to_vec().ok()
    }
}

/// Reads an answer to a question; `None` when it is none, in conflict with another (the bit of authority), not yet sure of
/// its name (the bit of desired recursion), or cut: those are not to be used (RFC 4795, 2.1.1).
fn answer(question: &Question, bytes: &[u8]) -> Option<Message> {
    let message = Message::from_vec(bytes).ok()?;
    let [asked] = &message.queries[..] else { return None };
    let said = &message.metadata;
    let is_unsure = said.authoritative || said.recursion_desired || said.truncation;
    let is_answer = said.message_type == MessageType::Response && said.response_code == ResponseCode::NoError;
    let is_to_it = asked.query_type() == question.kind() && Some(asked.name()) == question.name().as_ref();
    (is_answer && !is_unsure && is_to_it).then_some(message)
}

/// Whether an answer about `host` that came from `from` is its own.
fn is_itself(host: IpAddr, from: IpAddr) -> bool {
    let is_link_local = |address: IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    host == from || (host.is_ipv6() && is_link_local(from))
}

/// Addresses of the other family than `host` that hosts can have.
fn addresses(message: &Message, host: IpAddr) -> impl Iterator<Item = IpAddr> {
    let address = move |data: &RData| match (data, host) {
        (RData::AAAA(address), IpAddr::V4(_)) => Some(IpAddr::V6(address.0)),
        (RData::A(address), IpAddr::V6(_)) => Some(IpAddr::V4(address.0)),
        _ => None,
    };
    let is_of_a_host =
        |address: &IpAddr| !(address.is_loopback() || address.is_multicast() || address.is_unspecified());
    let records = message.answers.iter().take(RECORDS);
    records.filter_map(move |record| address(&record.data)).filter(is_of_a_host).take(ADDRESSES)
}

/// Questions in flight at once.
const WINDOW: usize = 64;
/// How long an answer may take: hosts wait up to 100 ms before they answer, and the link takes at most as long (RFC 4795, 7).
const PATIENCE: Duration = Duration::from_millis(200);
/// How often something is asked (RFC 4795, 2.7).
const TRIES: usize = 3;
/// Records of an answer that are looked at.
const RECORDS: usize = 64;
/// Addresses of a host that are taken.
const ADDRESSES: usize = 8;

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{AAAA, PTR};

    use super::*;

    #[test]
    fn a_question_has_these_bytes() {
        let mut inquiry = inquiry(1);
        let Some(Output::Send(host, bytes)) = inquiry.poll_output() else { panic!("a question") };
        assert_eq!(host, address(1));
        assert_eq!(
            &bytes[2..],
            b"\0\0\0\x01\0\0\0\0\0\0\x011\x010\x011\x0210\x07in-addr\x04arpa\0\0\x0c\0\x01"
        );
    }

    #[test]
    fn a_host_says_its_name_and_then_its_other_addresses() {
        let (start, mut inquiry) = (Instant::now(), inquiry(1));
        let asked = sent(&mut inquiry);
        inquiry.handle_input(start, address(1), &answered(&asked[0], ptr("PC-9.")));
        let name = Claim::Name(NameKind::Local, Text::host("pc-9").unwrap());
        assert_eq!(inquiry.poll_output(), Some(Output::Learned(address(1), name.clone())));
        // The pace puts the next question off.
        inquiry.handle_timeout(inquiry.poll_timeout().unwrap());
        let asked = sent(&mut inquiry);
        let v6: std::net::Ipv6Addr = "fe80::9".parse().unwrap();
        inquiry.handle_input(start, address(1), &answered(&asked[0], RData::AAAA(AAAA(v6))));
        assert_eq!(inquiry.poll_output(), Some(Output::Learned(v6.into(), name)));
        assert_eq!((inquiry.poll_output(), inquiry.poll_timeout()), (None, None));
    }

    #[test]
    fn nobody_answers_for_somebody_else_and_no_answer_that_is_unsure_counts() {
        let (start, mut inquiry) = (Instant::now(), inquiry(1));
        let asked = sent(&mut inquiry);
        let answer = answered(&asked[0], ptr("pc-9."));
        inquiry.handle_input(start, address(2), &answer);
        for (byte, bit) in [(2, 4), (2, 1), (2, 2), (3, 3), (0, 1), (2, 0x80)] {
            let mut other = answer.clone();
            other[byte] ^= bit;
            inquiry.handle_input(start, address(1), &other);
        }
        (0..answer.len()).for_each(|len| inquiry.handle_input(start, address(1), &answer[..len]));
        assert_eq!(inquiry.poll_output(), None);
        inquiry.handle_input(start, address(1), &answer);
        assert!(matches!(inquiry.poll_output(), Some(Output::Learned(..))));
    }

    #[test]
    fn who_is_silent_is_asked_three_times_and_few_are_asked_at_once() {
        let (mut now, mut inquiry) = (Instant::now(), inquiry(40));
        let (mut times, mut when) = (HashMap::<Vec<u8>, usize>::new(), Vec::new());
        while let Some(deadline) = inquiry.poll_timeout() {
            for bytes in sent(&mut inquiry) {
                *times.entry(bytes[2..].to_vec()).or_default() += 1;
                when.push(now);
            }
            now = now.max(deadline);
            inquiry.handle_timeout(now);
        }
        let crowd = |at: Instant| {
            when.iter().filter(move |sent| **sent >= at && **sent < at + Duration::from_millis(10))
        };
        assert!(when.iter().all(|at| crowd(*at).count() <= 20));
        assert_eq!(times.len(), 40);
        assert!(times.values().all(|times| *times == TRIES), "{times:?}");
    }

    fn sent(inquiry: &mut Inquiry) -> Vec<Vec<u8>> {
        let outputs = std::iter::from_fn(|| inquiry.poll_output());
        outputs
            .filter_map(|output| if let Output::Send(_, bytes) = output { Some(bytes) } else { None })
            .collect()
    }

    fn answered(question: &[u8], data: RData) -> Vec<u8> {
        let mut message = Message::from_vec(question).unwrap();
        message.metadata.message_type = MessageType::Response;
        let name = message.queries[0].name().clone();
        message.add_answer(Record::from_rdata(name, 30, data));
        message.to_vec().unwrap()
    }

    fn ptr(name: &str) -> RData {
        RData::PTR(PTR(Name::from_ascii(name).unwrap()))
    }

    fn inquiry(hosts: u8) -> Inquiry {
        let now = Instant::now();
        let mut inquiry = Inquiry::new(now, CookieKey::new([1; 16]));
        (1..=hosts).for_each(|last| inquiry.ask(now, address(last)));
        inquiry
    }

    fn address(last: u8) -> IpAddr {
        [10, 1, 0, last].into()
    }
}
