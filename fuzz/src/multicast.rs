//! The decoders and cores of `klnet-multicast`.

use std::time::{Duration, Instant};

use klnet_multicast::announcement::Announcement;
use klnet_multicast::catalogue::Catalogue;
use klnet_multicast::feedback::{Deficit, Feedback, State};
use klnet_multicast::id::{ReceiverId, SessionId};
use klnet_multicast::key::{EpochKey, Secret};
use klnet_multicast::layout::Layout;
use klnet_multicast::loss::Loss;
use klnet_multicast::manifest::Manifest;
use klnet_multicast::mark::{Mark, MarkEntry};
use klnet_multicast::packet::Header;
use klnet_multicast::path::ObjectPath;
use klnet_multicast::receiver::{self, Input, Receiver, Run};
use klnet_multicast::sender::{self, Sender};

use crate::fixed::KEY;
use crate::script::Script;

/// Any datagram is a header or is refused, and none that nobody sealed is opened.
pub fn packet(data: &[u8]) {
    let Ok((header, length)) = Header::decode(data) else { return };
    assert!(length < data.len());
    let key = EpochKey { epoch: 1, secret: Secret::new([7; 32]) }.packets(SESSION, 0);
    assert!(header.open(&key, length, &mut data.to_vec()).is_err(), "nobody has this key");
}

/// A body is taken in the one encoding that the announcer signed for this session, or not at all.
pub fn announcement(data: &[u8]) {
    let _ = Announcement::sequence(data);
    if let Ok(read) = Announcement::verify(data, SESSION, std::slice::from_ref(KEY.public())) {
        assert_eq!(read.encode(SESSION, &KEY), data);
    }
}

/// Any bytes are one manifest, in its one encoding, or none.
pub fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::decode(data) else { return };
    assert_eq!(manifest.encode(), data);
    assert!(manifest.layout(1408).is_some(), "what is read can be cut into blocks");
}

/// Whatever a signer puts into a catalogue, no path of it leaves its folder and its bytes add up.
pub fn catalogue(data: &[u8]) {
    let mut script = Script::new(data);
    let length = u64::from(script.number());
    let bytes = script.rest();
    let manifest = Manifest {
        name: "fuzz".to_owned(),
        version: 1,
        issued: 1,
        expires: 0,
        audience: [0; 16],
        length,
        catalogue_length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        catalogue: Catalogue::hash(bytes),
        block_log2: 12,
    };
    let Ok(catalogue) = Catalogue::decode(bytes, &manifest) else { return };
    assert_eq!(catalogue.encode(), bytes);
    assert_eq!(catalogue.files.iter().map(|file| file.length).sum::<u64>(), length);
    for file in &catalogue.files {
        object_path(file.path.as_str().as_bytes());
    }
}

/// A path that is taken stays below its folder.
pub fn object_path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(path) = ObjectPath::try_from(text) else { return };
    let whole = path.below("base".as_ref());
    assert!(whole.starts_with("base") && whole.is_relative());
    let parts = whole.components().skip(1);
    assert!(parts.into_iter().all(|part| matches!(part, std::path::Component::Normal(_))), "{text:?}");
}

/// Any bytes are one mark, in its one encoding, or none.
pub fn mark(data: &[u8]) {
    if let Ok(mark) = Mark::decode(data) {
        assert_eq!(mark.encode(), data);
    }
}

/// Any bytes are one feedback, in its one encoding, or none.
pub fn feedback(data: &[u8]) {
    if let Ok(feedback) = Feedback::decode(data) {
        assert_eq!(feedback.encode(), data);
    }
}

/// Whatever receivers say, a sender numbers every packet once, sends only symbols that there are, and ends.
pub fn multicast_sender(data: &[u8]) {
    let (mut script, mut now) = (Script::new(data), Instant::now());
    let layout = Layout::new(3000, 200_000, 16, 1024).expect("constants");
    let expect = script.coin().then_some(2);
    let config = sender::Config { expect, cap: 100_000_000, ..sender::Config::default() };
    let (mut sender, mut last) = (Sender::new(now, config, layout), 0);
    while let Some(decision) = script.decision() {
        match decision % 4 {
            0 => {
                sender.handle_feedback(now, ReceiverId::new([decision; 16]), any_feedback(&mut script, last))
            }
            1 => now += script.duration().min(Duration::from_secs(5)),
            2 => now = sender.poll_timeout().unwrap_or(now).max(now),
            _ if decision > 250 => sender.stop(now),
            _ => {}
        }
        sender.handle_timeout(now);
        last = drain_sender(&mut sender, layout, last);
    }
    sender.stop(now);
    for _ in 0..10 {
        let Some(when) = sender.poll_timeout() else { return };
        sender.handle_timeout(when);
        last = drain_sender(&mut sender, layout, last);
    }
    assert_eq!(sender.poll_timeout(), None, "a session that is stopped ends");
}

fn drain_sender(sender: &mut Sender, layout: Layout, mut last: u64) -> u64 {
    while let Some(output) = sender.poll_output() {
        let (number, count) = match output {
            sender::Output::Announce { number, .. } | sender::Output::Mark { number, .. } => (number, 1),
            sender::Output::Symbols { number, block, esi, count } => {
                assert!(block < layout.blocks() && count > 0 && esi + count <= layout.symbols(block));
                (number, u64::from(count))
            }
            sender::Output::Receipt(_) | sender::Output::Event(_) => continue,
        };
        assert!(number > last, "packet {number} after {last}");
        last = number + count - 1;
    }
    last
}

fn any_feedback(script: &mut Script<'_>, last: u64) -> Feedback {
    let deficits = (0..script.byte() % 8)
        .map(|_| Deficit { block: u32::from(script.byte() % 8), symbols: script.short() })
        .collect();
    Feedback {
        seen: last.saturating_sub(u64::from(script.byte())),
        held: script.duration(),
        sequence: script.number(),
        state: *script.pick(&[State::Receiving, State::Complete, State::Failed]).expect("three"),
        loss: Loss::new(f64::from(script.byte()) / 255.0),
        overruns: script.byte().into(),
        below: script.byte().into(),
        verified: script.byte().into(),
        repaired: 0,
        label: String::new(),
        deficits,
    }
}

/// Whatever a member of the group sends, a receiver holds a bounded number of blocks, has none restored without enough
/// symbols, and finishes only when all are verified.
pub fn multicast_receiver(data: &[u8]) {
    let (mut script, mut now) = (Script::new(data), Instant::now());
    let layout = Layout::new(3000, 900_000, 16, 1024).expect("constants");
    let config = receiver::Config { window: 4, ..receiver::Config::default() };
    let (mut receiver, mut held) = (Receiver::new(now, config, layout), std::collections::BTreeSet::new());
    while let Some(decision) = script.decision() {
        match decision % 8 {
            0..=2 => {
                let (number, block) = (script.short().into(), u32::from(script.byte() % 20));
                let run = Run { number, block, esi: script.short() % 200, count: script.short() % 200 };
                if receiver.handle_symbols(now, run) {
                    held.insert(block);
                }
            }
            3 => receiver.handle_input(
                now,
                Input::Mark { number: script.short().into(), mark: any_mark(&mut script) },
            ),
            4 => receiver.handle_input(now, any_input(&mut script)),
            5 => now += script.duration().min(Duration::from_secs(5)),
            6 => now = receiver.poll_timeout().unwrap_or(now).max(now),
            _ => {}
        }
        receiver.handle_timeout(now);
        drain_receiver(&mut receiver, layout, now, &mut script, &mut held);
        assert!(held.len() <= 4, "{held:?} are held");
    }
}

fn drain_receiver(
    receiver: &mut Receiver,
    layout: Layout,
    now: Instant,
    script: &mut Script<'_>,
    held: &mut std::collections::BTreeSet<u32>,
) {
    while let Some(output) = receiver.poll_output() {
        match output {
            receiver::Output::Restore { block, have } => {
                assert!(have.len() >= layout.sources(block) && held.remove(&block));
                let fits = script.byte() % 4 != 0;
                receiver.handle_input(now, Input::Restored { block, fits, repaired: 0 });
            }
            receiver::Output::Forget(block) => assert!(held.remove(&block), "{block} was not held"),
            receiver::Output::Finish => assert_eq!(receiver.verified(), layout.blocks()),
            receiver::Output::Say(said) => assert_eq!(Feedback::decode(&said.encode()), Ok(said)),
            receiver::Output::Rejoin | receiver::Output::Over { .. } => {}
        }
    }
}

fn any_mark(script: &mut Script<'_>) -> Mark {
    let entries = (0..script.byte() % 8)
        .map(|_| MarkEntry {
            block: u32::from(script.byte() % 20),
            sent: script.number(),
            heard: script.short(),
        })
        .collect();
    Mark {
        tail: script.coin(),
        frontier: u32::from(script.byte() % 20),
        grtt: script.duration(),
        group: script.number(),
        loss: Loss::new(f64::from(script.byte()) / 255.0),
        entries,
    }
}

fn any_input(script: &mut Script<'_>) -> Input {
    match script.byte() % 5 {
        0 => Input::Announced {
            number: script.short().into(),
            ended: script.byte() > 250,
            demoted: script.coin(),
        },
        1 => Input::Resumed(Vec::new()),
        2 => Input::Receipt,
        3 => Input::Failed,
        _ => Input::Retry,
    }
}

/// The session that [`announcement`] is of.
pub const SESSION: SessionId = SessionId([9; 16]);
