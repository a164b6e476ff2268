//! Seeds of what the server reads.

use std::sync::Arc;
use std::time::Duration;

use klnet_server::handover::message::{Carry, Kind, Listener, Message, Moved, PROTOCOL, Record, Way};
use klnet_server::invitation::Invitation;
use klnet_server::store::export::{Encoder, Header};
use klnet_server::store::{Batch, Entry, Event, Incarnation, Key, Rev};
use klnet_tunnel::label::Cookie;
use klnet_tunnel::pair::{EndReason, PairEnd, PairId};
use klnet_tunnel::relay::LivePair;
use klnet_wire::id::{DeviceId, GrantId, OperatorId, TenantId};

use super::Seed;

pub(super) fn seeds() -> Vec<Seed> {
    [settings(), handover(), exports()].concat()
}

/// What people write.
fn settings() -> Vec<Seed> {
    let (name, url) = ("anna".to_owned(), "https://klnet.example.org".to_owned());
    let invitation = Invitation { root: [1; 32], secret: [2; 32].into(), name, url }.print();
    vec![
        ("invitation", "text", invitation.into_bytes()),
        ("invitation", "bytes", [&[0x0a, 32][..], &[1; 32], &[0x12, 32], &[2; 32], b"\x1a\x04anna"].concat()),
        ("config", "empty", Vec::new()),
        ("config", "full", CONFIG.as_bytes().to_vec()),
        ("config", "mistakes", b"bind = 'x'\nagent_ports = '9-1'\nheartbeat_min = '5'\nhosts = []".to_vec()),
        ("units", "duration", b"1500ms".to_vec()),
        ("units", "rate", b"100Mbit/s".to_vec()),
        ("units", "ports", b"23100-23107".to_vec()),
        ("key", "join", b"devices\n42\nname".to_vec()),
        ("key", "longest", vec![b'k'; 512]),
    ]
}

/// What `klserver backup` writes.
fn exports() -> Vec<Seed> {
    let export = |batches: &[Batch]| {
        let mut file = Vec::new();
        let mut encoder =
            Encoder::new(&mut file, Header { incarnation: Incarnation([7; 16]), at: Rev(9) }).unwrap();
        batches.iter().for_each(|batch| encoder.batch(batch).unwrap());
        encoder.finish().unwrap();
        file
    };
    let event = |key: &'static str, rev| Event {
        key: Key::new(key).unwrap(),
        entry: Some(Entry { value: "value".into(), create_rev: rev, mod_rev: rev, lease: None }),
    };
    let two = Batch { rev: Rev(5), events: vec![event("t/a", Rev(5)), event("t/b", Rev(5))] };
    let one = Batch { rev: Rev(9), events: vec![event("t/c", Rev(9))] };
    let full = export(&[two, one]);
    let cut = full[..full.len() - 20].to_vec();
    vec![("export", "empty", export(&[])), ("export", "full", full), ("export", "cut", cut)]
}

/// What one process says to the other.
fn handover() -> Vec<Seed> {
    let moved = Moved { to_target: 30, to_initiator: 40 };
    let end = PairEnd { to_target: 30, to_initiator: 40, reason: EndReason::Reset };
    let (there, back, silent) = (Way::Spliced(4096), Way::Copied(vec![1, 2, 3]), Duration::from_millis(5));
    let record = Record {
        grant: GrantId::new([1; 16]),
        cookie: Cookie::new([2; 20]),
        tenant: TenantId::new([3; 16]),
        device: DeviceId::new([4; 16]),
        operator: OperatorId::new([5; 16]),
        initiator: "[2001:db8::1]:4444".parse().unwrap(),
        lasted: Duration::from_secs(9),
        end,
    };
    let live = LivePair {
        pair: PairId(7),
        grant: Arc::new(super::tunnel::grant("files.lan")),
        left: Duration::from_secs(3600),
        orphan: Duration::from_secs(600),
        cookie: record.cookie,
        initiator: record.initiator,
        age: Duration::from_secs(9),
    };
    let listener = Listener { kind: Kind::Https, address: "[::]:443".parse().unwrap() };
    let messages = [
        ("offer", Message::Offer { protocol: PROTOCOL, build: "0.1.0".into(), listeners: 4 }),
        ("listener", Message::Listener(listener)),
        ("pair", Message::Pair(live, moved)),
        ("record", Message::Record(record)),
        ("carry", Message::Carry(Carry { pair: PairId(7), moved, silent, there, back })),
        ("ended", Message::Ended(PairId(7), end)),
        ("prepared", Message::Prepared { process: 77, build: "0.2.0".into() }),
        ("cannot", Message::cannot(&"the configuration is wrong")),
        ("taken", Message::Taken(PairId(7))),
        ("done", Message::Done),
    ];
    messages.map(|(name, message)| ("handover", name, message.encode())).into()
}

const CONFIG: &str = r#"
state = "state"
hosts = ["klnet.example.org"]
bind = "::"
https_port = 8443
agent_ports = "23100-23107"
tunnel_ports = "29200-29299"
metrics = "127.0.0.1:9100"
heartbeat_min = "30s"
heartbeat_max = "15m"
reconnect_window = "2s"
tunnel_session = "8h"
tunnel_idle = "30m"
drain_timeout = "30s"
splice = true
[limits]
grants_per_device = 8
connections_per_tenant = 100
tenant_rate = "1Gbit/s"
"#;
