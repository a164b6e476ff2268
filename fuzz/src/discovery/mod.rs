//! The decoders of `klnet-discovery`: whatever stands on the link.

pub mod account;
pub mod machines;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use klnet_discovery::cookie::CookieKey;
use klnet_discovery::dns::llmnr::{self, Inquiry};
use klnet_discovery::dns::mdns::{Browser, Output};
use klnet_discovery::dns::{self, Reply, service};
use klnet_discovery::fact::Claim;
use klnet_discovery::mac::Mac;
use klnet_discovery::plan::Plan;
use klnet_discovery::probe::{Link, Method, Prober};
use klnet_discovery::range::Range;
use klnet_discovery::windows;

use crate::script::Script;

/// The secret of every target.
pub const COOKIES: CookieKey = CookieKey::new([7; 16]);

/// What is read as a range is written as the same range, and a plan of it numbers its addresses.
pub fn range(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(range) = text.parse::<Range>() else { return };
    assert_eq!(range.to_string().parse(), Ok(range));
    let Ok(plan) = Plan::new(&[range], &[]) else { return };
    for index in [0, plan.len() / 2, plan.len() - 1] {
        assert!(range.contains(plan.address(index)));
        assert_eq!(plan.index(plan.address(index)), Some(index));
    }
}

/// No frame passes for an answer that was not asked for, and none breaks anything.
pub fn probe(data: &[u8]) {
    let mut script = Script::new(data);
    let method = match script.byte() % 3 {
        0 => Method::Neighbor,
        1 => Method::Echo,
        _ => Method::Syn(443),
    };
    let prober = prober(method, script.coin());
    let Ok(answer) = prober.answer(script.rest()) else { return };
    assert!(prober.probe(answer.from, answer.attempt.unwrap_or(1)).is_some(), "{answer:?}");
    assert_eq!(answer.mac.is_some(), method == Method::Neighbor);
}

/// Probes from one host, by IPv4 or IPv6.
pub fn prober(method: Method, v6: bool) -> Prober {
    let source: IpAddr = if v6 { [0xfd; 16].into() } else { [10, 1, 0, 1].into() };
    let link = Link { mac: Mac([2, 0, 0, 0, 0, 1]), source, gateway: Mac([2, 0, 0, 0, 0, 2]) };
    Prober::new(method, link, COOKIES)
}

/// An answer about names gives few, short and harmless ones.
pub fn reverse(data: &[u8]) {
    let Some(Reply::Names(names)) = dns::reply(7, [10, 1, 0, 9].into(), data) else { return };
    assert!(names.len() <= 16);
    names.iter().for_each(|name| harmless(name.as_str()));
}

/// An answer about a service leads to few servers, all of them in its domain, and each is tried once.
pub fn service(data: &[u8]) {
    let (name, domain) = ("_ldap._tcp.dc._msdcs.example.org", "example.org");
    let _ = service::addresses(7, name, service::Kind::V4, data).map(|all| assert!(all.len() <= 8));
    let Some(targets) = service::servers(7, name, domain, data) else { return };
    for target in &targets {
        harmless(target.host.as_str());
        assert!(target.host.as_str().ends_with(".example.org") && target.addresses.len() <= 8);
    }
    let (len, drawn) = (targets.len(), u32::from(data[0]));
    let ordered = service::order(targets, |most| drawn.min(most));
    assert!(len <= 64 && ordered.len() == len);
    assert!(ordered.is_sorted_by_key(|target| target.priority));
}

/// Whatever is announced, a browser asks and tells a bounded number of things.
pub fn mdns(data: &[u8]) {
    let mut browser = Browser::new(Instant::now(), Duration::from_secs(3));
    let mut script = Script::new(data);
    while let Some(0..250) = script.decision() {
        browser.handle_input(Instant::now(), script.bytes(4096));
        let outputs = std::iter::from_fn(|| browser.poll_output()).inspect(|output| {
            if let Output::Learned(_, claim) = output {
                check(claim);
            }
        });
        assert!(outputs.count() < 100_000);
    }
}

/// Whatever is answered, each host is asked a bounded number of times, and says few and harmless things.
pub fn llmnr(data: &[u8]) {
    let (mut now, mut script) = (Instant::now(), Script::new(data));
    let hosts: [IpAddr; 2] = [[10, 1, 0, 9].into(), [0xfe; 16].into()];
    let mut inquiry = Inquiry::new(now, COOKIES);
    hosts.into_iter().for_each(|host| inquiry.ask(now, host));
    let (mut last, mut sent, mut learned) = (Vec::new(), 0, 0);
    while let Some(decision) = script.decision() {
        while let Some(output) = inquiry.poll_output() {
            match output {
                llmnr::Output::Send(_, bytes) => (last, sent) = (bytes, sent + 1),
                llmnr::Output::Learned(_, claim) => {
                    check(&claim);
                    learned += 1;
                }
            }
        }
        let from = hosts[usize::from(decision & 1)];
        match decision % 3 {
            0 => {
                now += script.duration();
                inquiry.handle_timeout(now);
            }
            1 => inquiry.handle_input(now, from, script.bytes(512)),
            // The last question, turned into an answer with the records of the input.
            _ => {
                let mut answer = last.clone();
                if let Some(flags) = answer.get_mut(2..8) {
                    flags.copy_from_slice(&[0x80, 0, 0, 1, 0, script.byte()]);
                }
                answer.extend(script.bytes(255));
                inquiry.handle_input(now, from, &answer);
            }
        }
    }
    assert!(sent <= 12 && learned <= 18, "{sent} questions, {learned} facts");
}

/// A node status is read within its bounds.
pub fn nbns(data: &[u8]) {
    windows::nbns::reply(7, data).iter().flatten().for_each(check);
}

/// A challenge is found wherever it is, and read within its bounds.
pub fn ntlm(data: &[u8]) {
    windows::ntlm::challenge(data).iter().flatten().for_each(check);
}

/// Both answers of an SMB server.
pub fn smb(data: &[u8]) {
    windows::smb::negotiated(data).iter().flatten().for_each(check);
    windows::smb::challenged(data).iter().flatten().for_each(check);
}

/// An answer to a probe of WS-Discovery.
pub fn wsd(data: &[u8]) {
    windows::wsd::matched([7; 16], data).iter().flatten().for_each(check);
}

fn check(claim: &Claim) {
    match claim {
        Claim::Name(_, text) | Claim::System(text) => harmless(text.as_str()),
        Claim::Service(service) => {
            harmless(service.kind.as_str());
            harmless(service.instance.as_str());
        }
        Claim::Mac(mac) => assert!(mac.is_of_a_host()),
        _ => {}
    }
}

fn harmless(text: &str) {
    assert!(!text.is_empty() && text.chars().count() <= 255);
    assert!(!text.chars().any(char::is_control), "{text:?}");
}
