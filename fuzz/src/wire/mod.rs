//! The decoders of `klnet-wire`.

pub mod identity;
pub mod session;

use bytes::{Bytes, BytesMut};
use klnet_wire::duties::Duties;
use klnet_wire::frame::{Frame, PAYLOAD_LIMIT};
use klnet_wire::keyset::{self, KeySet, Purpose};
use klnet_wire::message::{End, Message};
use klnet_wire::servers::{self, ServerList};
use klnet_wire::signed::{Context, PublicKey, Signed};
use prost::Message as _;

use crate::fixed::{FABRIC, KEY, OTHER_KEY, now};
use crate::script::Script;

/// Bytes in any pieces give the same frames as at once, and the frames give the same bytes.
pub fn frame(data: &[u8]) {
    let mut script = Script::new(data);
    let piece = usize::from(script.byte()) + 1;
    let input = script.rest();
    let whole = frames([input]);
    assert_eq!(whole, frames(input.chunks(piece)), "in pieces of {piece}");
    let mut wire = BytesMut::new();
    for frame in &whole {
        assert!(frame.payload.len() <= PAYLOAD_LIMIT);
        frame.encode(&mut wire).expect("what was received can be sent");
    }
    assert!(input.starts_with(&wire));
}

fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
    let (mut input, mut frames) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match Frame::decode(&mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}

/// Any payload is a message or is refused, and a message survives the wire.
pub fn message(data: &[u8]) {
    let mut script = Script::new(data);
    let (kind, flags) = (script.byte(), script.byte());
    let payload = script.rest().get(..PAYLOAD_LIMIT).unwrap_or(script.rest());
    let frame = Frame { kind, flags, stream: 0, payload: Bytes::copy_from_slice(payload) };
    let Ok(Some(message)) = Message::decode(&frame) else { return };
    assert_eq!(message.kind() as u8, kind);
    assert!([End::Agent, End::Server].into_iter().any(|end| message.kind().may_send(end)));
    let mut wire = BytesMut::new();
    // It may have become longer: a negative number in five bytes is written in ten.
    if payload.len() + 5 <= PAYLOAD_LIMIT {
        message.encode(0, &mut wire).expect("a received message fits in a frame");
    } else if message.encode(0, &mut wire).is_err() {
        return;
    }
    let again = Frame::decode(&mut wire).expect("our own frame").expect("a whole frame");
    assert_eq!(Message::decode(&again), Ok(Some(message)));
}

/// Duties are read as they were written, and shown without their secrets.
pub fn duties(data: &[u8]) {
    let Ok(duties) = Duties::decode(data) else { return };
    assert_eq!(Duties::decode(&duties.encode_to_vec()[..]).as_ref(), Ok(&duties));
    if let Some(point) = duties.point.as_ref().filter(|point| point.secret.len() == 32) {
        assert!(!format!("{point:?}").contains(&format!("{:?}", point.secret)));
    }
}

/// No bytes pass for signed by a key that did not sign them.
pub fn signed(data: &[u8]) {
    let Ok(signed) = Signed::decode(data) else { return };
    assert_eq!(Signed::decode(&signed.encode_to_vec()[..]).as_ref(), Ok(&signed));
    let contexts = [Context::KeySet, Context::ServerList, Context::Grant, Context::TunnelRecord];
    let valid = contexts.into_iter().filter(|context| signed.verify(*context, KEY.public()).is_ok());
    assert!(valid.count() <= 1, "a signature is for one purpose");
    assert!(contexts.into_iter().all(|context| signed.verify(context, OTHER_KEY.public()).is_err()));
    if let Ok(key) = PublicKey::try_from(&signed.bytes[..]) {
        assert_eq!(key.as_bytes(), signed.bytes);
        let _ = Signed { key_id: key.id().to_vec().into(), ..signed }.verify(Context::Grant, &key);
    }
}

/// A root's signature does not make bytes a key set; whatever is one checks blobs without panic.
pub fn keyset(data: &[u8]) {
    let signed = KEY.sign(Context::KeySet, Bytes::copy_from_slice(data));
    let Ok(set) = KeySet::verify(&signed, FABRIC, &[KEY.public().clone()]) else { return };
    assert!(data.len() <= keyset::LIMIT);
    assert_eq!(KeySet::decode(&set.encode_to_vec()[..]).as_ref(), Ok(&set));
    for purpose in [Purpose::None, Purpose::Grant, Purpose::Directory] {
        let held = set.keys.iter().any(|key| key.public[..] == *KEY.public().as_bytes());
        let clocked = set.check(&signed, Context::KeySet, purpose, now());
        let unclocked = set.check_without_clock(&signed, Context::KeySet, purpose);
        assert!(clocked.is_err() || unclocked.is_ok(), "a clock only ever refuses");
        assert!(unclocked.is_err() || held, "only a key of the set is believed");
    }
}

/// A directory key's signature does not make bytes a server list.
pub fn servers(data: &[u8]) {
    let key = keyset::Key {
        purpose: Purpose::Directory.into(),
        public: Bytes::copy_from_slice(KEY.public().as_bytes()),
        not_before: 0,
        not_after: u64::MAX,
    };
    let keys = KeySet { fabric: FABRIC.to_vec().into(), version: 1, keys: vec![key] };
    let signed = KEY.sign(Context::ServerList, Bytes::copy_from_slice(data));
    let Ok(list) = ServerList::verify(&signed, FABRIC, &keys) else { return };
    assert!(data.len() <= servers::LIMIT);
    let ports = list.servers.iter().flat_map(|server| server.agent_ports.iter().chain(&server.tunnel_ports));
    assert!(ports.copied().all(|port| u16::try_from(port).is_ok_and(|port| port != 0)));
    let _ = list.fresh(now());
}
