//! Where a service of a domain is (RFC 2782): the question, its answer, and in which order to try what it names.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::name::Text;

/// A server of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub host: Text,
    /// Where it listens.
    pub port: u16,
    /// Those of a lower number are tried first.
    pub priority: u16,
    /// Among those of one priority, how often it is to be the first.
    pub weight: u16,
    /// Its addresses, where the answer has them.
    pub addresses: Vec<IpAddr>,
}

/// The question for a record of a name; `None` when the name is none.
pub fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(absolute(name)?, kind.record()));
    message.to_vec().ok()
}

/// What is asked about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The servers of a service.
    Servers,
    /// IPv4 addresses.
    V4,
    /// IPv6 addresses.
    V6,
}

/// Reads the servers that an answer names, in its order; `None` when it is no answer to the question with this id.
///
/// A server that is not in `domain` is left out: whoever forges an answer must not lead anybody elsewhere, where a certificate
/// is easily had.
pub fn servers(id: u16, name: &str, domain: &str, bytes: &[u8]) -> Option<Vec<Target>> {
    let message = answer(id, name, Kind::Servers, bytes)?;
    let mut glue = BTreeMap::<Text, Vec<IpAddr>>::new();
    for record in message.additionals.iter().take(RECORDS) {
        let Some(host) = Text::host(&record.name.to_utf8()) else { continue };
        let addresses = glue.entry(host).or_default();
        addresses.extend(address(&record.data).filter(|_| addresses.len() < ADDRESSES));
    }
    let mut targets = Vec::new();
    for record in message.answers.iter().take(RECORDS) {
        let RData::SRV(said) = &record.data else { continue };
        let Some(host) = Text::host(&said.target.to_utf8()).filter(|host| is_in(host.as_str(), domain))
        else {
            continue;
        };
        let addresses = glue.get(&host).cloned().unwrap_or_default();
        let (port, priority, weight) = (said.port, said.priority, said.weight);
        targets.push(Target { host, port, priority, weight, addresses });
    }
    Some(targets)
}

/// Reads the addresses that an answer gives; `None` when it is no answer to the question with this id.
pub fn addresses(id: u16, name: &str, kind: Kind, bytes: &[u8]) -> Option<Vec<IpAddr>> {
    let message = answer(id, name, kind, bytes)?;
    // Aliases lead there; whose they are, a certificate says.
    Some(
        message
            .answers
            .iter()
            .take(RECORDS)
            .filter_map(|record| address(&record.data))
            .take(ADDRESSES)
            .collect(),
    )
}

/// The order in which to try servers: by priority, and among equals by chance, as their weights say (RFC 2782).
/// `draw` gives a number from 0 to the one that it is given.
pub fn order(mut targets: Vec<Target>, mut draw: impl FnMut(u32) -> u32) -> Vec<Target> {
    let mut ordered = Vec::with_capacity(targets.len());
    // Those of no weight first: they are chosen where the number drawn is 0.
    targets.sort_by_key(|target| (target.priority, target.weight != 0));
    while let Some(first) = targets.first() {
        let equals = targets.iter().take_while(|target| target.priority == first.priority);
        let weights: Vec<u32> = equals.map(|target| target.weight.into()).collect();
        let (drawn, mut sum) = (draw(weights.iter().sum()), 0);
        let reaches = |weight: &u32| {
            sum += weight;
            sum >= drawn
        };
        let chosen = weights.iter().position(reaches).unwrap_or(0);
        ordered.push(targets.remove(chosen));
    }
    ordered
}

fn answer(id: u16, name: &str, kind: Kind, bytes: &[u8]) -> Option<Message> {
    let message = Message::from_vec(bytes).ok()?;
    let [asked] = &message.queries[..] else { return None };
    let said = &message.metadata;
    let is_answer = said.id == id && said.message_type == MessageType::Response;
    let is_to_it = asked.query_type() == kind.record() && Some(asked.name()) == absolute(name).as_ref();
    // That there is no such name is an answer, too.
    let says = matches!(said.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
    (is_answer && is_to_it && says && !said.truncation).then_some(message)
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}

fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn is_in(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

impl Kind {
    const fn record(self) -> RecordType {
        match self {
            Self::Servers => RecordType::SRV,
            Self::V4 => RecordType::A,
            Self::V6 => RecordType::AAAA,
        }
    }
}

/// Records of an answer that are looked at.
const RECORDS: usize = 64;
/// Addresses of a server.
const ADDRESSES: usize = 8;

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, SRV};

    use super::*;

    #[test]
    fn servers_of_the_domain_are_read_and_others_left_out() {
        let bytes =
            said(&[("dc1.corp.example.org.", 0), ("dc.corp.example.net.", 0), ("corp.example.org.", 0)]);
        let targets = servers(7, NAME, DOMAIN, &bytes).unwrap();
        let [target] = &targets[..] else { panic!("{targets:?}") };
        assert_eq!((target.host.as_str(), target.port), ("dc1.corp.example.org", 389));
        assert_eq!(target.addresses, [IpAddr::from([10, 0, 0, 1])]);
        assert_eq!(servers(8, NAME, DOMAIN, &bytes), None);
        assert_eq!(servers(7, "_ldap._tcp.other", DOMAIN, &bytes), None);
        assert!((0..bytes.len()).all(|len| servers(7, NAME, DOMAIN, &bytes[..len]).is_none()));
    }

    #[test]
    fn a_host_of_another_domain_with_a_like_name_is_elsewhere() {
        assert!(is_in("dc1.corp.example.org", DOMAIN));
        for host in
            ["corp.example.org", "evilcorp.example.org", ".corp.example.org", "dc1.corp.example.org.net"]
        {
            assert!(!is_in(host, DOMAIN), "{host}");
        }
    }

    #[test]
    fn the_lower_number_goes_first_and_weights_are_chances() {
        let target = |host: &str, priority, weight| Target {
            host: Text::host(host).unwrap(),
            port: 389,
            priority,
            weight,
            addresses: Vec::new(),
        };
        let targets =
            vec![target("far", 10, 100), target("a", 0, 30), target("b", 0, 10), target("never", 0, 0)];
        let first = |drawn: u32| {
            let order = order(targets.clone(), |most| drawn.min(most));
            assert_eq!(order.len(), 4);
            assert_eq!(order[3].host.as_str(), "far");
            order[0].host.as_str().to_owned()
        };
        let count = |host: &str| (1..=40).filter(|drawn| first(*drawn) == host).count();
        assert_eq!((count("a"), count("b"), first(0)), (30, 10, "never".to_owned()));
    }

    #[test]
    fn addresses_are_read_for_the_name_that_was_asked_about() {
        let mut message = response(question(7, "dc1.corp.example.org", Kind::V4));
        let name = message.queries[0].name().clone();
        message.add_answer(Record::from_rdata(name, 60, RData::A(A::new(10, 0, 0, 1))));
        let bytes = message.to_vec().unwrap();
        let read = |name| addresses(7, name, Kind::V4, &bytes);
        assert_eq!(read("DC1.corp.example.org"), Some(vec![[10, 0, 0, 1].into()]));
        assert_eq!(read("dc2.corp.example.org"), None);
    }

    fn said(targets: &[(&str, u16)]) -> Vec<u8> {
        let mut message = response(question(7, NAME, Kind::Servers));
        let asked = message.queries[0].name().clone();
        for (host, priority) in targets {
            let host = Name::from_ascii(host).unwrap();
            let service = RData::SRV(SRV::new(*priority, 100, 389, host.clone()));
            message.add_answer(Record::from_rdata(asked.clone(), 60, service));
            message.add_additional(Record::from_rdata(host, 60, RData::A(A::new(10, 0, 0, 1))));
        }
        message.to_vec().unwrap()
    }

    fn response(question: Option<Vec<u8>>) -> Message {
        let mut message = Message::from_vec(&question.unwrap()).unwrap();
        message.metadata.message_type = MessageType::Response;
        message
    }

    const NAME: &str = "_ldap._tcp.dc._msdcs.corp.example.org";
    const DOMAIN: &str = "corp.example.org";
}
