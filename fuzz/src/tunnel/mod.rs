//! The decoders of `klnet-tunnel`.

pub mod relay;
pub mod target;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use data_encoding::BASE64URL_NOPAD;
use klnet_tunnel::address::{self, OwnAddresses};
use klnet_tunnel::blob::{Blob, PREFIX};
use klnet_tunnel::grant::{self, Grant, Host};
use klnet_tunnel::hello::{self, Parsed, RECORD_LIMIT};
use klnet_tunnel::label::{Cookie, Label};
use klnet_tunnel::policy::TargetPolicy;
use klnet_tunnel::record::TunnelRecord;
use klnet_tunnel::socks::{self, Negotiation, Output};
use klnet_tunnel::stream::{self, Answer, Go};
use klnet_wire::signed::Context;
use rustls::server::Acceptor;

use crate::fixed::KEY;
use crate::script::Script;

/// A first flight is judged the same however much of it has come, and its name is the one rustls would read.
pub fn hello(data: &[u8]) {
    dialled_back(data);
    let whole = hello::parse(data);
    let step = data.len() / 64 + 1;
    for len in (0..data.len()).step_by(step) {
        match hello::parse(&data[..len]) {
            Ok(Parsed::Incomplete) => {}
            judged => assert_eq!(judged, whole, "after {len} of {} bytes", data.len()),
        }
    }
    if data.len() >= RECORD_LIMIT {
        assert_ne!(whole, Ok(Parsed::Incomplete), "a full buffer is judged");
    }
    let Ok(Parsed::Hello(ours)) = whole else { return };
    assert!(ours.record_len <= RECORD_LIMIT.min(data.len()));
    let record = &data[..ours.record_len];
    assert_eq!(hello::parse(record), Ok(Parsed::Hello(ours.clone())), "what follows the record is not read");
    let mut acceptor = Acceptor::default();
    if acceptor.read_tls(&mut &record[..]).is_err() {
        return;
    }
    if let Ok(Some(theirs)) = acceptor.accept()
        && let Some(name) = theirs.client_hello().server_name()
    {
        assert_eq!(ours.server_name, Some(name.to_ascii_lowercase()));
    }
}

/// Every dial-back is read as one, with its cookie.
fn dialled_back(data: &[u8]) {
    let Some((bytes, rest)) = data.split_first_chunk::<20>() else { return };
    let cookie = Cookie::new(*bytes);
    let random = [rest.first().copied().unwrap_or_default(); 32];
    let record = hello::dial_back(&cookie, random, random);
    let Ok(Parsed::Hello(hello)) = hello::parse(&record) else { panic!("a dial-back is a ClientHello") };
    assert_eq!(hello.record_len, record.len());
    assert_eq!(hello.server_name.and_then(|name| Cookie::from_server_name(&name)), Some(cookie));
}

/// A grant has one encoding, and every field of one that was read is within its limits.
pub fn grant(data: &[u8]) {
    let Ok(read) = Grant::read(data) else { return };
    assert_eq!(read.encode(), data, "a grant has one encoding");
    assert!(data.len() <= grant::LIMIT && read.route.len() <= grant::ROUTE_LIMIT && read.issued > 0);
    assert!(read.start <= grant::START_LIMIT && read.orphan <= grant::ORPHAN_LIMIT);
    assert!(read.session <= grant::SESSION_LIMIT && read.idle <= grant::SESSION_LIMIT);
    assert!(read.connections.get() <= grant::CONNECTIONS_LIMIT);
    assert_eq!(Host::parse(&read.host.to_string()).as_ref(), Ok(&read.host));
    assert_eq!(TargetPolicy::default().check(&read), Ok(()));
}

/// A host has one canonical spelling, and a name is nothing a resolver could take for an address.
pub fn host(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(host) = Host::parse(text) else { return };
    let spelled = host.to_string();
    assert_eq!(Host::parse(&spelled).as_ref(), Ok(&host));
    assert!(spelled.len() <= grant::HOST_LIMIT);
    if let Host::Name(name) = &host {
        assert!(name.is_ascii() && !name.contains([':', '/', '%', '@', ' ']));
        let last = name.rsplit('.').next().unwrap_or_default();
        assert!(last.parse::<u32>().is_err(), "{name} ends in a number");
    }
}

/// A pasted text, or one made of any bytes, is a blob with one spelling or is refused.
pub fn blob(data: &[u8]) {
    let made = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(data));
    for text in [Ok(made.as_str()), str::from_utf8(data)].into_iter().flatten() {
        let Ok(blob) = text.parse::<Blob>() else { continue };
        assert_eq!(blob.to_string(), text.trim());
        assert_eq!(blob.grant.encode(), blob.signed.bytes);
        assert!(!blob.ports.is_empty() && blob.relay != Host::Device);
    }
}

/// A server name is a label's, a cookie's or neither, and has one spelling.
pub fn names(data: &[u8]) {
    let Ok(name) = str::from_utf8(data) else { return };
    let (label, cookie) = (Label::from_server_name(name), Cookie::from_server_name(name));
    assert!(label.is_none() || cookie.is_none());
    assert!(label.is_none_or(|label| label.server_name() == name));
    assert!(cookie.is_none_or(|cookie| cookie.server_name() == name));
}

/// GO and its answer are read from any beginning of a stream, and no byte behind them.
pub fn stream(data: &[u8]) {
    if let Ok(Some((go, len))) = Go::read(data) {
        assert_eq!(go.encode(), data[..len], "GO has one encoding");
    }
    if let Ok(Some((answer, len))) = Answer::read(data) {
        assert!(len <= 2 + stream::LIMIT);
        assert_eq!(Answer::read(&data[..len]), Ok(Some((answer.clone(), len))));
        assert_eq!(Answer::read(&data[..len - 1]), Ok(None), "the answer is whole at its last byte only");
        let again = answer.encode();
        assert!(again.len() <= 2 + stream::LIMIT);
        assert!(matches!(Answer::read(&again), Ok(Some((_, len))) if len == again.len()));
    }
    if data.len() >= 2 + stream::LIMIT {
        assert!(!matches!(Go::read(data), Ok(None)) && !matches!(Answer::read(data), Ok(None)));
    }
}

/// A negotiation is judged the same in whatever pieces it comes, takes no byte that follows it, and ends.
pub fn socks(data: &[u8]) {
    let whole = negotiate(data, data.len().max(1));
    for step in [1, 2, 7] {
        assert_eq!(negotiate(data, step), whole, "in pieces of {step}");
    }
    let (outputs, taken) = whole;
    assert!(taken <= socks::INPUT_LIMIT);
    if taken < data.len() {
        assert!(!matches!(outputs.last(), None | Some(Output::Send(_))), "it is over");
    }
    if let Some(Output::Connect(destination)) = outputs.last() {
        assert_ne!(destination.host, Host::Device, "a client names a host");
        assert_eq!(Host::parse(&destination.host.to_string()).as_ref(), Ok(&destination.host));
    }
}

fn negotiate(data: &[u8], step: usize) -> (Vec<Output>, usize) {
    let (mut negotiation, mut outputs, mut taken) = (Negotiation::new(), Vec::new(), 0);
    while negotiation.needs() > 0 && taken < data.len() {
        let end = (taken + step).min(data.len());
        let more = negotiation.handle_input(&data[taken..end]);
        assert!(more > 0, "it needs more, and takes some");
        taken += more;
        outputs.extend(negotiation.poll_output());
    }
    (outputs, taken)
}

/// A record survives its bytes, and is believed from its own device only.
pub fn record(data: &[u8]) {
    let Ok(record) = TunnelRecord::read(data) else { return };
    assert_eq!(TunnelRecord::read(&record.encode()).as_ref(), Ok(&record));
    let signed = KEY.sign(Context::TunnelRecord, record.encode());
    assert_eq!(TunnelRecord::verify(&signed, record.device, KEY.public()).as_ref(), Ok(&record));
    let signed = KEY.sign(Context::Grant, record.encode());
    assert!(TunnelRecord::verify(&signed, record.device, KEY.public()).is_err());
}

/// A forbidden IPv4 address is forbidden in every form that leads to it.
pub fn address(data: &[u8]) {
    let mut script = Script::new(data);
    let own = OwnAddresses::new([IpAddr::from(four(&mut script)), IpAddr::from(sixteen(&mut script))]);
    let (v4, v6) = (four(&mut script), sixteen(&mut script));
    let _ = address::check(v6.into(), &own);
    let plain = address::check(v4.into(), &own);
    let [a, b, c, d] = v4.octets().map(u16::from);
    let (high, low) = (a << 8 | b, c << 8 | d);
    let prefix = sixteen(&mut script).segments();
    let forms = [
        v4.to_ipv6_mapped(),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, prefix[0], prefix[1], prefix[2], prefix[3], prefix[4]),
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
        Ipv6Addr::new(prefix[0], prefix[1], prefix[2], prefix[3], 0, 0x5efe, high, low),
    ];
    for form in forms {
        let judged = address::check(form.into(), &own);
        assert!(plain.is_ok() || judged.is_err(), "{form} leads to {v4}: {plain:?}");
    }
}

fn four(script: &mut Script<'_>) -> Ipv4Addr {
    Ipv4Addr::from_bits(script.number())
}

fn sixteen(script: &mut Script<'_>) -> Ipv6Addr {
    Ipv6Addr::from_bits((0..4).fold(0, |bits, _| bits << 32 | u128::from(script.number())))
}
