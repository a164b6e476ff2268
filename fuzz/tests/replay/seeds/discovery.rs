//! Seeds of network polling: answers as hosts give them, and scripts for the state machines.

use std::net::IpAddr;

use klnet_discovery::dns::{self, service};
use klnet_discovery::probe::Method;
use klnet_discovery::windows::{nbns, ntlm, smb, wsd};
use klnet_fuzz::discovery::prober;

use super::Seed;

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = vec![
        ("range", "prefix", b"10.1.0.0/16".to_vec()),
        ("range", "ends", b"10.1.0.10-10.1.0.99".to_vec()),
        ("range", "mask", b"10.1.0.0/255.255.0.0".to_vec()),
        ("range", "v6", b"fd00::/120".to_vec()),
        ("reverse", "answer", answer()),
        ("mdns", "answer", [&[0, 0, 60][..], &answer()[..60], &[0, 1, 0], &announcement()].concat()),
        ("service", "controllers", controllers()),
        ("account", "active-directory", [&account(0)[..], &[255], &account(1), &[255]].concat()),
        ("account", "mark", mark()),
        ("llmnr", "name-and-addresses", llmnr()),
        ("nbns", "answer", node_status()),
        ("nbns", "question", nbns::question(7)),
        ("ntlm", "challenge", challenge()),
        ("smb", "negotiate", smb::negotiate()[4..].to_vec()),
        ("smb", "session-setup", smb::session_setup()[4..].to_vec()),
        (
            "smb",
            "challenged",
            [&smb::session_setup()[4..68], &[9, 0, 0, 0, 0, 0, 0, 0], &challenge()].concat(),
        ),
        ("wsd", "match", wsd_match()),
        ("wsd", "probe", wsd::probe([7; 16]).into_bytes()),
        (
            "sweep",
            "answers",
            [&[1][..], &[0, 17, 4, 3, 0, 0, 17, 4, 9, 0, 3, 0, 60, 4, 3, 0].repeat(8)].concat(),
        ),
        ("sweep", "congested", [2, 0, 17, 1, 0, 50, 2, 7, 3, 0, 70].repeat(6)),
        ("resolver", "answers", [0, 1, 3, 0x81, 0x80, 0, 2, 1, 90, 3, 0x82, 0].repeat(8)),
        (
            "inventory",
            "moves",
            [1, 1, 1, 0, 2, 1, 1, 1, 2, 5, 0, 90, 4, 3, 4, b'a', b'.', b'b', b'c', 3].repeat(8),
        ),
    ];
    let probes = [(0, Method::Neighbor), (1, Method::Echo), (2, Method::Syn(443))];
    for (number, method) in probes {
        for (v6, target) in [(false, IpAddr::from([10, 1, 0, 9])), (true, IpAddr::from([0xfd; 16]))] {
            let Some(frame) = prober(method, v6).probe(target, 1) else { continue };
            let bytes = [&[number, u8::from(v6)][..], &turned(frame.as_bytes(), method)].concat();
            let name =
                ["arp", "echo", "syn", "neighbor", "echo-v6"][usize::from(number) + 3 * usize::from(v6)];
            seeds.push(("probe", name, bytes));
        }
    }
    seeds
}

/// A probe with the places of sender and target changed: near enough to an answer for a fuzzer to find the way.
fn turned(probe: &[u8], method: Method) -> Vec<u8> {
    let mut bytes = probe.to_vec();
    match (method, bytes.len()) {
        (Method::Neighbor, 42) => {
            bytes[21] = 2;
            bytes[22..42].rotate_left(10);
            bytes[22..28].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        }
        (_, 42..70) => bytes[26..34].rotate_left(4),
        _ => bytes[22..54].rotate_left(16),
    }
    bytes
}

/// `9.0.1.10.in-addr.arpa. PTR h.example.`
fn answer() -> Vec<u8> {
    let mut bytes = dns::question(7, [10, 1, 0, 9].into());
    bytes[2] |= 0x80;
    bytes[7] = 1;
    bytes.extend(b"\xc0\x0c\0\x0c\0\x01\0\0\0\x3c\0\x0b\x01h\x07example\0");
    bytes
}

/// `_http._tcp.local. PTR w._http._tcp.local.` with its SRV and A.
fn announcement() -> Vec<u8> {
    let mut bytes = b"\0\0\x84\0\0\0\0\x03\0\0\0\0".to_vec();
    bytes.extend(b"\x05_http\x04_tcp\x05local\0\0\x0c\0\x01\0\0\0\x78\0\x04\x01w\xc0\x0c");
    bytes.extend(b"\xc0\x28\0\x21\x80\x01\0\0\0\x78\0\x0a\0\0\0\0\0\x50\x01h\xc0\x17");
    bytes.extend(b"\x01h\xc0\x17\0\x01\x80\x01\0\0\0\x78\0\x04\x0a\x01\0\x07");
    bytes
}

/// Two controllers of a domain, and one of another.
fn controllers() -> Vec<u8> {
    let mut bytes = service::question(7, "_ldap._tcp.dc._msdcs.example.org", service::Kind::Servers).unwrap();
    (bytes[2], bytes[7], bytes[11]) = (0x81, 3, 1);
    // The domain is the name in the question from its fifth label on.
    let domain = 12 + 6 + 5 + 3 + 7;
    for (priority, name) in [(0, "dc1"), (1, "dc2")] {
        bytes.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 12, 0, priority, 0, 100, 1, 0x85, 3]);
        bytes.extend(name.as_bytes());
        bytes.extend([0xc0, domain]);
    }
    bytes.extend(b"\xc0\x0c\0\x21\0\x01\0\0\0\x3c\0\x0b\0\0\0\x64\x01\x85\x03bad\0");
    bytes.extend([3, b'd', b'c', b'1', 0xc0, domain, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1]);
    bytes
}

/// An entry with an identifier, two names and a system.
fn account(number: u8) -> Vec<u8> {
    let value =
        |index: u8, value: &[u8]| [&[index, 1, 1, u8::try_from(value.len()).unwrap()][..], value].concat();
    let name = b"CN=PC-7,OU=Sales,DC=example,DC=org";
    let attributes = [
        value(0, &[number; 16]),
        value(3, b"pc-7.example.org"),
        value(5, b"PC-7$"),
        value(7, b"Windows 11"),
        value(9, b"02:00:00:00:00:07"),
        value(11, b"20261126053000.0Z"),
    ];
    [&[0, u8::try_from(name.len()).unwrap()][..], name, &[6], &attributes.concat()].concat()
}

/// An entry whose time of change would be more than a time.
fn mark() -> Vec<u8> {
    let value = b"20261126053000)(cn=*";
    [&[0, 4][..], b"cn=x", &[1, 11, 1, 1, u8::try_from(value.len()).unwrap()], value].concat()
}

/// The name of the second host, and then its address of the other family.
fn llmnr() -> Vec<u8> {
    let name = b"\xc0\x0c\0\x0c\0\x01\0\0\0\x1e\0\x06\x04pc-9\0";
    let address = b"\xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\x01\0\x09";
    let answer = |records: &[u8]| [&[5, 1, u8::try_from(records.len()).unwrap()][..], records].concat();
    [answer(name), vec![0, 20], answer(address), vec![0, 60]].concat()
}

fn node_status() -> Vec<u8> {
    let mut bytes = [&[0, 7, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 32][..], b"CK", &[b'A'; 30]].concat();
    bytes.extend([0, 0, 0x21, 0, 1, 0, 0, 0, 0, 0, 0, 2]);
    bytes.extend(b"PC-7           \0\x04\0OFFICE         \0\x84\0\x02\0\0\0\0\x07");
    bytes
}

fn challenge() -> Vec<u8> {
    let info = [&[1, 0, 4, 0][..], b"P\0C\0", &[3, 0, 6, 0], b"p\0.\0o\0", &[0; 4]].concat();
    let mut bytes = ntlm::negotiate();
    bytes.resize(56, 0);
    bytes[8] = 2;
    bytes[20..24].copy_from_slice(&0x0200_0001_u32.to_le_bytes());
    let len = u16::try_from(info.len()).unwrap().to_le_bytes();
    bytes[40..48].copy_from_slice(&[len[0], len[1], len[0], len[1], 56, 0, 0, 0]);
    bytes[48..52].copy_from_slice(&[10, 0, 0x7c, 0x4f]);
    [bytes, info].concat()
}

fn wsd_match() -> Vec<u8> {
    let id = "07070707-0707-0707-0707-070707070707";
    format!(
        "<s:Envelope><s:Header><a:RelatesTo>urn:uuid:{id}</a:RelatesTo></s:Header><s:Body><d:ProbeMatches>\
         <d:ProbeMatch><a:EndpointReference><a:Address>urn:uuid:{id}</a:Address></a:EndpointReference>\
         </d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"
    )
    .into_bytes()
}
