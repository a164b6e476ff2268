//! What goes over HTTPS: JSON and protobuf.

use std::fmt::Write as _;

use bytes::Bytes;
use data_encoding::BASE64;
use prost::Message;
use serde::Deserialize;

use crate::frame::Malformed;
use crate::subject::Key;
use crate::ticket::Ticket;
use crate::verdict::Verdict;

/// What is asked about, as JSON: texts as `ksnproxy query` takes them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subjects {
    pub(super) subjects: Vec<String>,
}

/// What is asked about, as protobuf: keys as they are in a frame.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Keys {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    keys: Vec<Bytes>,
}

/// The answer as protobuf: verdicts as they are in a frame.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Verdicts {
    #[prost(bytes = "vec", repeated, tag = "1")]
    verdicts: Vec<Vec<u8>>,
}

impl Keys {
    pub(super) fn keys(&self) -> Result<Vec<Key>, Malformed> {
        let key = |bytes: &Bytes| Key::decode(bytes.as_ref().try_into().map_err(|_| Malformed)?);
        self.keys.iter().map(key).collect()
    }
}

impl Verdicts {
    pub(super) fn new(verdicts: &[Verdict]) -> Self {
        Self { verdicts: verdicts.iter().map(|verdict| verdict.pack().to_vec()).collect() }
    }
}

/// One verdict as JSON.
pub(super) fn verdict(verdict: &Verdict, json: &mut String) {
    let Verdict { reputation, category, confidence, source, ttl, age, stale, partial } = verdict;
    let (reputation, category, ttl, age) = (reputation.word(), category.word(), ttl.as_secs(), age.as_secs());
    // A string takes whatever is written to it.
    let _ = write!(
        json,
        r#"{{"reputation":"{reputation}","category":"{category}","confidence":{confidence},"source":{source},"ttl":{ttl},"age":{age},"stale":{stale},"partial":{partial}}}"#
    );
}

/// Several as JSON.
pub(super) fn verdicts(verdicts: &[Verdict]) -> String {
    let mut json = String::from(r#"{"verdicts":["#);
    for (at, each) in verdicts.iter().enumerate() {
        if at > 0 {
            json.push(',');
        }
        verdict(each, &mut json);
    }
    json + "]}"
}

/// A ticket as JSON.
pub(super) fn ticket(ticket: &Ticket) -> String {
    let Ticket { number, lifetime, key } = ticket;
    // A number of 64 bits is more than a number of JSON.
    format!(r#"{{"number":"{number}","lifetime":{lifetime},"key":"{}"}}"#, BASE64.encode(key.as_slice()))
}
