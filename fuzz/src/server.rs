//! What `klnet-server` reads from people, files and peers.

use data_encoding::BASE64URL_NOPAD;
use klnet_server::config::Config;
use klnet_server::handover::message::{self, Message};
use klnet_server::invitation::Invitation;
use klnet_server::store::export::{Decoder, Encoder};
use klnet_server::store::{Batch, Entry, Event, Key, Limits, Prefix};
use klnet_server::units::{duration, ports, print_rate, rate};

/// An invitation survives its text, and prints no secret.
pub fn invitation(data: &[u8]) {
    let made = format!("kli1.{}", BASE64URL_NOPAD.encode(data));
    for text in [Ok(made.as_str()), str::from_utf8(data)].into_iter().flatten() {
        let Ok(invitation) = Invitation::parse(text) else { continue };
        assert_eq!(Invitation::parse(&invitation.print()).as_ref(), Ok(&invitation));
        assert!(!invitation.name.chars().any(char::is_control));
        assert!(!format!("{invitation:?}").contains(&invitation.token()));
    }
}

/// Any file is a configuration without a listener on nothing, or says what is wrong with it.
pub fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match Config::parse(text) {
        Ok(config) => {
            assert!(!config.agent_ports.is_empty() && !config.tunnel_ports.is_empty());
            assert!(config.heartbeat.0 <= config.heartbeat.1);
            for devices in [0, 1, usize::MAX] {
                let heartbeat = config.heartbeat_for(devices);
                assert!((config.heartbeat.0..=config.heartbeat.1).contains(&heartbeat));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// What one process says to the other in a handover survives the socket, and is never longer than a message may be.
pub fn handover(data: &[u8]) {
    let Ok(read) = Message::decode(data) else { return };
    let again = read.encode();
    assert_eq!(Message::decode(&again).as_ref(), Ok(&read));
    assert!(data.len() <= message::LIMIT && read.descriptors() <= message::DESCRIPTORS_LIMIT);
}

/// Whatever is taken as an export is within limits and in order, and is what would be written of it.
pub fn export(data: &[u8]) {
    let Ok(mut decoder) = Decoder::new(data) else { return };
    let mut again = Vec::new();
    let mut encoder = Encoder::new(&mut again, decoder.header()).expect("memory takes everything");
    let mut last = decoder.header().at;
    last.0 = 0;
    loop {
        match decoder.next() {
            Err(_) => return,
            Ok(None) => break,
            Ok(Some(entry)) => {
                assert!(entry.value.len() <= Limits::COMMON.value);
                assert!(entry.mod_rev >= last && entry.mod_rev <= decoder.header().at);
                last = entry.mod_rev;
                let kept = Entry { value: entry.value, create_rev: last, mod_rev: last, lease: None };
                let batch = Batch { rev: last, events: vec![Event { key: entry.key, entry: Some(kept) }] };
                encoder.batch(&batch).expect("memory takes everything");
            }
        }
    }
    encoder.finish().expect("memory takes everything");
    assert_eq!(again, data);
}

/// Durations and ports are read or refused, and never more of them than a range may have.
pub fn units(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(bytes) = rate(text) {
        assert_eq!(rate(&print_rate(bytes)), Ok(bytes));
    }
    if let Ok(duration) = duration(text) {
        assert!(std::time::Instant::now().checked_add(duration).is_some());
    }
    if let Ok(ports) = ports(text) {
        assert!((1..=100).contains(&ports.len()) && ports.is_sorted());
    }
}

/// A key is bounded, and a part of one cannot pose as another.
pub fn key(data: &[u8]) {
    if let Ok(key) = Key::new(data.to_vec()) {
        assert!((1..=Limits::COMMON.key).contains(&key.as_bytes().len()));
    }
    let Ok(text) = str::from_utf8(data) else { return };
    let parts: Vec<&str> = text.split('\n').collect();
    let Ok(key) = Key::join(&parts) else { return };
    assert_eq!(key.as_bytes().split(|byte| *byte == b'/').count(), parts.len());
    for depth in 0..parts.len() {
        let below = Prefix::below(&parts[..depth]).expect("a part of a key is a prefix");
        assert!(below.contains(&key));
        assert_eq!(key.strip_prefix(&below), key.as_bytes().get(below.as_bytes().len()..));
    }
}
