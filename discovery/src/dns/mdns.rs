//! Multicast DNS and DNS service discovery (RFC 6762, RFC 6763): who announces what on the link.
//!
//! ```text
//! _services._dns-sd._udp.local  PTR ──▶ type  PTR ──▶ instance  SRV ──▶ host  A, AAAA ──▶ address
//! ```
//!
//! A browser asks for the types, then for the instances of each, then for what is missing to resolve them; it asks
//! again, less and less often, and ends at its deadline whatever comes; earlier, when it may, once all is resolved.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::fact::{Claim, NameKind, Service};
use crate::name::Text;

/// Something is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this to the group.
    Send(Vec<u8>),
    /// An address has this name, or offers this service.
    Learned(IpAddr, Claim),
}

/// Asks the link for services and resolves what it hears.
#[derive(Debug)]
pub struct Browser {
    begun: Instant,
    deadline: Instant,
    /// How long nothing new may come before it ends early, and when something last did.
    lull: Option<Duration>,
    news: Instant,
    /// When to ask again, and how long to wait after that.
    again: Instant,
    pause: Duration,
    types: BTreeSet<Name>,
    /// What is known of each instance: its type, then host and port. Names compare without regard to case.
    instances: BTreeMap<Name, (Name, Option<(Name, u16)>)>,
    hosts: BTreeMap<Name, BTreeSet<IpAddr>>,
    told: BTreeSet<(IpAddr, Text, u16)>,
    /// Asked for once at least.
    asked: BTreeSet<(Name, u16)>,
    outputs: VecDeque<Output>,
}

impl Browser {
    /// A browser that begins now and ends after `patience`.
    pub fn new(now: Instant, patience: Duration) -> Self {
        let mut browser = Self {
            begun: now,
            deadline: now + patience,
            lull: None,
            news: now,
            again: now + FIRST_PAUSE,
            pause: FIRST_PAUSE,
            types: BTreeSet::new(),
            instances: BTreeMap::new(),
            hosts: BTreeMap::new(),
            told: BTreeSet::new(),
            asked: BTreeSet::new(),
            outputs: VecDeque::new(),
        };
        browser.types.extend(KNOWN.iter().filter_map(|kind| Name::from_ascii(kind).ok()));
        browser.ask();
        browser
    }

    /// It ends before its deadline once everything that was announced is resolved and nothing new has come for `lull`.
    #[must_use]
    pub const fn ending_after(mut self, lull: Duration) -> Self {
        self.lull = Some(lull);
        self
    }

    /// Takes in a datagram from a host of the link.
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) {
        let Ok(message) = Message::from_vec(bytes) else { return };
        if message.metadata.message_type != MessageType::Response {
            return;
        }
        let before = self.known();
        let records = message.answers.iter().chain(&message.additionals).take(RECORDS);
        for record in records {
            self.record(&record.name, &record.data);
        }
        if self.known() > before {
            self.news = now;
        }
        self.resolve();
        self.ask_for_what_is_new();
    }

    fn record(&mut self, name: &Name, data: &RData) {
        match data {
            RData::PTR(kind) if is_services(name) => self.add_type(kind.0.clone()),
            RData::PTR(instance) if self.types.contains(name) && self.instances.len() < LIMIT => {
                self.instances.entry(instance.0.clone()).or_insert_with(|| (name.clone(), None));
            }
            RData::SRV(service) => {
                if let Some((_, place)) = self.instances.get_mut(name) {
                    *place = Some((service.target.clone(), service.port));
                }
            }
            RData::A(address) => self.add_address(name, address.0.into()),
            RData::AAAA(address) => self.add_address(name, address.0.into()),
            _ => {}
        }
    }

    /// Only ever grows.
    fn known(&self) -> usize {
        let addresses: usize = self.hosts.values().map(BTreeSet::len).sum();
        let placed = self.instances.values().filter(|(_, place)| place.is_some()).count();
        self.types.len() + self.instances.len() + placed + addresses
    }

    fn add_type(&mut self, kind: Name) {
        if self.types.len() < TYPES && kind.num_labels() <= 4 {
            self.types.insert(kind);
        }
    }

    fn add_address(&mut self, name: &Name, address: IpAddr) {
        if self.hosts.len() < LIMIT || self.hosts.contains_key(name) {
            let addresses = self.hosts.entry(name.clone()).or_default();
            if addresses.len() < ADDRESSES && addresses.insert(address) {
                let claim = Text::host(&name.to_utf8()).map(|name| Claim::Name(NameKind::Local, name));
                self.outputs.extend(claim.map(|claim| Output::Learned(address, claim)));
            }
        }
    }

    /// Tells every service whose host has an address.
    fn resolve(&mut self) {
        for (instance, (kind, place)) in &self.instances {
            let Some((host, port)) = place else { continue };
            let label = instance.iter().next().unwrap_or_default();
            let (Some(kind), Some(instance)) = (Text::host(&kind.to_utf8()), Text::from_bytes(label)) else {
                continue;
            };
            for address in self.hosts.get(host).into_iter().flatten() {
                if self.told.insert((*address, instance.clone(), *port)) {
                    let service = Service { kind: kind.clone(), instance: instance.clone(), port: *port };
                    self.outputs.push_back(Output::Learned(*address, Claim::Service(service)));
                }
            }
        }
    }

    /// Everything that is still missing, and the types once more.
    fn ask(&mut self) {
        let mut wanted = vec![(services(), RecordType::PTR)];
        wanted.extend(self.types.iter().map(|kind| (kind.clone(), RecordType::PTR)));
        wanted.extend(self.missing());
        self.send(wanted);
    }

    fn ask_for_what_is_new(&mut self) {
        let types = self.types.iter().map(|kind| (kind.clone(), RecordType::PTR));
        let wanted: Vec<_> = types.chain(self.missing()).collect();
        let is_new =
            |(name, kind): &(Name, RecordType)| !self.asked.contains(&(name.clone(), u16::from(*kind)));
        self.send(wanted.into_iter().filter(is_new).collect());
    }

    fn missing(&self) -> Vec<(Name, RecordType)> {
        let unplaced = self.instances.iter().filter(|(_, (_, place))| place.is_none());
        let places = self.instances.values().filter_map(|(_, place)| place.as_ref());
        let homeless = places.filter(|(host, _)| !self.hosts.contains_key(host)).map(|(host, _)| host);
        let homeless: BTreeSet<_> = homeless.collect();
        let addresses = homeless
            .into_iter()
            .flat_map(|host| [RecordType::A, RecordType::AAAA].map(|kind| (host.clone(), kind)));
        unplaced.map(|(instance, _)| (instance.clone(), RecordType::SRV)).chain(addresses).collect()
    }

    fn send(&mut self, wanted: Vec<(Name, RecordType)>) {
        for questions in wanted.chunks(QUESTIONS) {
            let mut message = Message::new(0, MessageType::Query, OpCode::Query);
            for (name, kind) in questions {
                self.asked.insert((name.clone(), u16::from(*kind)));
                message.add_query(Query::query(name.clone(), *kind));
            }
            // Names that came in a message fit in one.
            self.outputs.extend(message.to_vec().ok().map(Output::Send));
        }
    }

    /// Asks again.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.again <= now && now < self.deadline() {
            self.pause *= 2;
            self.again = now + self.pause;
            self.ask();
        }
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Browser::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Instant {
        self.again.min(self.deadline())
    }

    /// When the browser is done, whatever is missing.
    pub fn deadline(&self) -> Instant {
        match self.lull {
            Some(lull) if self.unresolved() == 0 => self.deadline.min(self.lull_since() + lull),
            _ => self.deadline,
        }
    }

    /// What somebody multicast a moment ago is not said again within a second (RFC 6762, 6): silence counts only after
    /// the question was asked once more.
    fn lull_since(&self) -> Instant {
        match self.instances.is_empty() {
            true => self.news.max(self.begun + FIRST_PAUSE),
            false => self.news,
        }
    }

    /// Services that were announced and are not resolved.
    pub fn unresolved(&self) -> usize {
        let resolved = |place: &Option<(Name, u16)>| {
            place.as_ref().is_some_and(|(host, _)| self.hosts.contains_key(host))
        };
        self.instances.values().filter(|(_, place)| !resolved(place)).count()
    }
}

/// The name that every type is listed under (RFC 6763, 9).
fn services() -> Name {
    Name::from_ascii("_services._dns-sd._udp.local.").expect("a sound name")
}

fn is_services(name: &Name) -> bool {
    *name == services()
}

/// Asked for at once, without waiting for the list of types: what most networks have.
const KNOWN: [&str; 8] = [
    "_http._tcp.local.",
    "_ipp._tcp.local.",
    "_printer._tcp.local.",
    "_ssh._tcp.local.",
    "_smb._tcp.local.",
    "_workstation._tcp.local.",
    "_airplay._tcp.local.",
    "_device-info._tcp.local.",
];
/// RFC 6762, 5.2: a second at least between the first two questions, then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Questions in one message: with names of usual length it stays below an Ethernet frame.
const QUESTIONS: usize = 20;
/// Records of one message that are looked at.
const RECORDS: usize = 1000;
/// Types that are asked for.
const TYPES: usize = 256;
/// Instances and hosts that are remembered.
const LIMIT: usize = 4096;
/// Addresses of one host.
const ADDRESSES: usize = 16;

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, PTR, SRV};

    use super::*;

    #[test]
    fn a_service_is_resolved_step_by_step() {
        let mut browser = Browser::new(Instant::now(), Duration::from_secs(3));
        let questions = asked(&mut browser);
        assert_eq!(questions[0], "_services._dns-sd._udp.local.");
        browser.handle_input(
            Instant::now(),
            &said(&[("_services._dns-sd._udp.local.", ptr("_scanner._tcp.local."))]),
        );
        assert_eq!(asked(&mut browser), ["_scanner._tcp.local."]);
        browser.handle_input(
            Instant::now(),
            &said(&[("_scanner._tcp.local.", ptr("Den._scanner._tcp.local."))]),
        );
        assert_eq!(asked(&mut browser), ["Den._scanner._tcp.local."]);
        browser
            .handle_input(Instant::now(), &said(&[("den._scanner._tcp.local.", srv("Pc-7.local.", 8080))]));
        assert_eq!(asked(&mut browser), ["Pc-7.local.", "Pc-7.local."]);
        assert_eq!(browser.unresolved(), 1);
        browser.handle_input(Instant::now(), &said(&[("pc-7.local.", RData::A(A::new(10, 1, 0, 7)))]));
        assert_eq!(browser.unresolved(), 0);
        assert_eq!(learned(&mut browser), ["10.1.0.7 pc-7.local", "10.1.0.7 _scanner._tcp.local Den 8080"]);
    }

    #[test]
    fn what_comes_in_one_message_needs_no_further_question_and_is_told_once() {
        let mut browser = Browser::new(Instant::now(), Duration::from_secs(3));
        asked(&mut browser);
        let message = said(&[
            ("_http._tcp.local.", ptr("Web._http._tcp.local.")),
            ("Web._http._tcp.local.", srv("pc-7.local.", 80)),
            ("pc-7.local.", RData::A(A::new(10, 1, 0, 7))),
        ]);
        browser.handle_input(Instant::now(), &message);
        browser.handle_input(Instant::now(), &message);
        assert_eq!(learned(&mut browser), ["10.1.0.7 pc-7.local", "10.1.0.7 _http._tcp.local Web 80"]);
    }

    #[test]
    fn it_asks_again_less_often_and_ends_at_its_deadline() {
        let start = Instant::now();
        let mut browser = Browser::new(start, Duration::from_secs(5));
        let mut asked_at = Vec::new();
        while browser.poll_timeout() < browser.deadline() {
            let now = browser.poll_timeout();
            browser.handle_timeout(now);
            asked_at.push((now - start).as_secs());
        }
        assert_eq!(asked_at, [1, 3]);
    }

    #[test]
    fn a_brief_one_ends_once_all_is_resolved_and_nothing_new_comes() {
        let (start, lull) = (Instant::now(), Duration::from_millis(500));
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut browser = Browser::new(start, Duration::from_secs(3)).ending_after(lull);
        assert_eq!(browser.deadline(), at(1500), "nobody is there, or they spoke a moment ago");
        let half = said(&[
            ("_http._tcp.local.", ptr("Web._http._tcp.local.")),
            ("Web._http._tcp.local.", srv("pc-7.local.", 80)),
        ]);
        browser.handle_input(at(100), &half);
        assert_eq!(browser.deadline(), at(3000), "an address is missing");
        browser.handle_input(at(200), &said(&[("pc-7.local.", RData::A(A::new(10, 1, 0, 7)))]));
        browser.handle_input(at(400), &half);
        assert_eq!(browser.deadline(), at(700), "what is known is no news");
    }

    #[test]
    fn a_flood_of_instances_is_bounded() {
        let mut browser = Browser::new(Instant::now(), Duration::from_secs(3));
        for batch in 0..100 {
            let names: Vec<_> = (0..100)
                .map(|n| ("_http._tcp.local.", ptr(&format!("x{batch}-{n}._http._tcp.local."))))
                .collect();
            browser.handle_input(Instant::now(), &said(&names));
        }
        assert_eq!(browser.instances.len(), LIMIT);
    }

    fn asked(browser: &mut Browser) -> Vec<String> {
        let outputs = std::iter::from_fn(|| browser.poll_output());
        let sent =
            outputs.filter_map(|output| if let Output::Send(bytes) = output { Some(bytes) } else { None });
        sent.flat_map(|bytes| Message::from_vec(&bytes).unwrap().queries)
            .map(|query| query.name().to_string())
            .collect()
    }

    fn learned(browser: &mut Browser) -> Vec<String> {
        let outputs = std::iter::from_fn(|| browser.poll_output());
        outputs
            .filter_map(|output| match output {
                Output::Learned(address, Claim::Name(_, name)) => Some(format!("{address} {name}")),
                Output::Learned(address, Claim::Service(Service { kind, instance, port })) => {
                    Some(format!("{address} {kind} {instance} {port}"))
                }
                _ => None,
            })
            .collect()
    }

    fn said(records: &[(&str, RData)]) -> Vec<u8> {
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        for (name, data) in records {
            message.add_answer(Record::from_rdata(Name::from_ascii(name).unwrap(), 120, data.clone()));
        }
        message.to_vec().unwrap()
    }

    fn ptr(name: &str) -> RData {
        RData::PTR(PTR(Name::from_ascii(name).unwrap()))
    }

    fn srv(host: &str, port: u16) -> RData {
        RData::SRV(SRV::new(0, 0, port, Name::from_ascii(host).unwrap()))
    }
}
