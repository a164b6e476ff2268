//! The decoders of `klnet-multicast`, and its cores.

pub mod receiver;
pub mod sender;

use klnet_multicast::announcement::Announcement;
use klnet_multicast::catalogue::Catalogue;
use klnet_multicast::feedback::Feedback;
use klnet_multicast::id::SessionId;
use klnet_multicast::key::{EpochKey, Secret};
use klnet_multicast::manifest::Manifest;
use klnet_multicast::mark::Mark;
use klnet_multicast::packet::Header;
use klnet_multicast::path::ObjectPath;
use klnet_multicast::tags::Tags;

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

/// A body is taken in the one encoding that the announcer signed for this session, or not at all.
pub fn tags(data: &[u8]) {
    let _ = Tags::block(data);
    if let Ok(read) = Tags::verify(data, SESSION, std::slice::from_ref(KEY.public())) {
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

/// The session that [`announcement`] is of.
pub const SESSION: SessionId = SessionId([9; 16]);
