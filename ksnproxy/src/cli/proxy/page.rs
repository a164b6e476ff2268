//! What a proxy counted, for people, programs and Prometheus.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};

use crate::counters::{Counter, Counts};
use crate::net::service::Answering;

/// What a proxy counted until now.
pub(super) struct Report {
    pub(super) counts: Counts,
    pub(super) records: usize,
    pub(super) snapshot: Option<Answering>,
    pub(super) devices: Vec<([u8; 16], u64)>,
    /// In seconds of Unix time.
    pub(super) now: u64,
}

impl Report {
    /// One object: the counters, the snapshot, and how many keys each device asked about.
    pub(super) fn json(&self) -> Value {
        let mut object: Map<_, _> = Counter::ALL
            .into_iter()
            .map(|counter| (counter.name().to_owned(), self.counts.of(counter).into()))
            .collect();
        object.insert("records".to_owned(), self.records.into());
        object.insert("snapshot".to_owned(), self.snapshot.as_ref().map(|it| self.about(it)).into());
        let devices = self.devices.iter().map(|(device, asked)| (HEXLOWER.encode(device), json!(asked)));
        object.insert("devices".to_owned(), Value::Object(devices.collect()));
        Value::Object(object)
    }

    /// The text format of Prometheus.
    pub(super) fn prometheus(&self) -> String {
        let mut text = String::new();
        for counter in Counter::ALL {
            let (name, count) = (counter.name(), self.counts.of(counter));
            // A string takes whatever is written to it.
            let _ = writeln!(text, "# TYPE ksnproxy_{name} counter\nksnproxy_{name}_total {count}");
        }
        let mut gauge = |name: &str, value: u64| {
            let _ = writeln!(text, "# TYPE ksnproxy_{name} gauge\nksnproxy_{name} {value}");
        };
        gauge("records", self.records as u64);
        if let Some(Answering { sequence, created, checked, .. }) = &self.snapshot {
            gauge("snapshot_sequence", *sequence);
            gauge("snapshot_created_timestamp_seconds", *created);
            gauge("snapshot_checked_timestamp_seconds", checked.unwrap_or_default().into());
        }
        text + "# EOF\n"
    }

    fn about(&self, snapshot: &Answering) -> Value {
        let Answering { sequence, created, sources, records, whole, checked } = snapshot;
        let since = |time: u64| self.now.saturating_sub(time);
        json!({
            "sequence": sequence,
            "created": created,
            "age": since(*created),
            "sources": sources,
            "records": records,
            "whole": whole,
            "checked": checked.map(|checked| since(checked.into())),
        })
    }
}
