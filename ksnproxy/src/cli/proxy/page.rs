//! What a proxy counted, for people, programs and Prometheus.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};

use crate::counters::{Counter, Counts};

/// What a proxy counted until now.
pub(super) struct Report {
    pub(super) counts: Counts,
    pub(super) records: usize,
    pub(super) devices: Vec<([u8; 16], u64)>,
}

impl Report {
    /// One object: the counters, and how many keys each device asked about.
    pub(super) fn json(&self) -> Value {
        let mut object: Map<_, _> = Counter::ALL
            .into_iter()
            .map(|counter| (counter.name().to_owned(), self.counts.of(counter).into()))
            .collect();
        object.insert("records".to_owned(), self.records.into());
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
        let records = self.records;
        let _ = writeln!(text, "# TYPE ksnproxy_records gauge\nksnproxy_records {records}\n# EOF");
        text
    }
}
