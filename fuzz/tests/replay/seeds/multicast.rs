//! Seeds of multicast: what a sender and a receiver really say, and scripts for both cores.

use std::time::Duration;

use klnet_fuzz::fixed::KEY;
use klnet_fuzz::multicast::SESSION;
use klnet_multicast::announcement::{Announcement, Phase};
use klnet_multicast::catalogue::{Catalogue, FileEntry};
use klnet_multicast::feedback::{Deficit, Feedback, State};
use klnet_multicast::id::ReceiverId;
use klnet_multicast::key::{EpochKey, Secret};
use klnet_multicast::loss::Loss;
use klnet_multicast::manifest::Manifest;
use klnet_multicast::mark::{Mark, MarkEntry};
use klnet_multicast::packet::{Header, Letter};
use klnet_multicast::path::ObjectPath;
use klnet_multicast::tags::Tags;

use super::Seed;

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = packets();
    seeds.extend(bodies());
    seeds.extend(machines());
    seeds
}

fn packets() -> Vec<Seed> {
    let key = EpochKey { epoch: 1, secret: Secret::new([1; 32]) }.packets(SESSION, 0);
    let session = SESSION.short();
    let letter = Letter { session, receiver: ReceiverId::new([2; 16]), nonce: [3; 12] };
    let sealed = |header: Header| {
        let mut packet = Vec::new();
        header.seal(&key, b"body", &mut packet);
        packet
    };
    vec![
        (
            "packet",
            "announcement",
            sealed(Header::Announcement { lane: 0, epoch: 1, session: SESSION, number: 1 }),
        ),
        ("packet", "symbol", sealed(Header::Symbol { lane: 0, session, number: 2, block: 1, esi: 3 })),
        ("packet", "mark", sealed(Header::Mark { lane: 0, session, number: 3 })),
        ("packet", "feedback", sealed(Header::Feedback(letter))),
        ("packet", "receipt", sealed(Header::Receipt(letter))),
    ]
}

fn bodies() -> Vec<Seed> {
    let file = |path: &str, length| FileEntry {
        path: ObjectPath::try_from(path).unwrap(),
        length,
        executable: true,
    };
    let catalogue =
        Catalogue { files: vec![file("a/b", 5000), file("c", 96)], hashes: vec![[1; 32], [2; 32]] };
    let manifest = manifest();
    let announcement = Announcement {
        sequence: 1,
        phase: Phase::Open,
        symbol: 1408,
        stamp: 1_800_000_000_000,
        manifest: manifest.sign(&KEY).unwrap(),
        demoted: vec![ReceiverId::new([4; 16])],
        inline: b"lock = true".to_vec().into(),
    };
    let tags = Tags { block: 3, first: 128, tags: vec![[5; 8]; 2] };
    let entry = MarkEntry { block: 3, sent: 3000, heard: 17 };
    let mark = Mark {
        tail: true,
        frontier: 4,
        grtt: Duration::from_millis(2),
        group: 8,
        loss: Loss::new(0.05),
        entries: vec![entry; 2],
    };
    let length = 5096_u32.to_be_bytes();
    vec![
        ("announcement", "open", announcement.encode(SESSION, &KEY)),
        ("tags", "two", tags.encode(SESSION, &KEY)),
        ("manifest", "plain", manifest.encode().to_vec()),
        ("catalogue", "two-files", [&length[..], &catalogue.encode()].concat()),
        ("object_path", "usual", b"folder/file.iso".to_vec()),
        ("object_path", "climbing", b"a/../../etc/passwd".to_vec()),
        ("mark", "two-entries", mark.encode()),
        ("feedback", "request", feedback().encode()),
    ]
}

fn machines() -> Vec<Seed> {
    // See the decisions of each target: feedback, time, deadlines; symbols, marks, inputs.
    let sender = (0..60_u8).flat_map(|n| [n % 3, n, 9, 2, 1, 0, 40, n % 5]).collect();
    let receiver = (0..120_u8).flat_map(|n| [n % 7, 0, n, n % 15, 0, 0, 0, 199]).collect();
    vec![("multicast_sender", "requests", sender), ("multicast_receiver", "blocks", receiver)]
}

fn manifest() -> Manifest {
    Manifest {
        name: "base 7".to_owned(),
        version: 42,
        issued: 1_800_000_000,
        expires: 0,
        audience: [0; 16],
        length: 5 << 20,
        catalogue_length: 90,
        catalogue: [7; 32],
        block_log2: 22,
    }
}

fn feedback() -> Feedback {
    Feedback {
        seen: 77,
        held: Duration::from_millis(1),
        sequence: 3,
        state: State::Receiving,
        full: false,
        loss: Loss::new(0.05),
        overruns: 0,
        below: 2,
        verified: 3,
        repaired: 9,
        spoilt: None,
        label: "web-7".to_owned(),
        deficits: vec![Deficit { block: 4, symbols: 17 }],
    }
}
