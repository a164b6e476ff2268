//! What a fleet's identities cost a server: enrolling, being connected, being revoked.
//!
//! ```text
//! enrol     devices behind 20 addresses ─▶ klserver            a TLS handshake, a certificate and a durable record each
//! idle      many devices ─▶ klserver | mosquitto               TLS 1.3 and a verified client's certificate for both
//! revoke    an operator revokes one of 1,000 connected devices; its session ends
//! ```
//! But for `enrol` devices are put into the store beside the server, with certificates of its authority.

mod crowd;
mod effort;
mod enrol;
mod idle;
mod mosquitto;
mod revoke;

use anyhow::{Result, ensure};

use super::{Options, Report, Row};
use crate::lab::Lab;

/// A part of the benchmark: its name for `--only`, and how it is measured.
type Part = (&'static str, fn(&Options, &Lab) -> Result<Vec<Row>>);

pub(super) fn run(options: &Options) -> Result<Report> {
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let parts: Vec<_> = PARTS.iter().filter(|(name, _)| wanted(name)).collect();
    ensure!(!parts.is_empty(), "the parts are: {}", PARTS.map(|(name, _)| name).join(", "));
    let mut rows = Vec::new();
    for (name, measure) in parts {
        eprintln!("{name} ...");
        rows.extend(measure(options, &Lab::new("bench")?)?);
    }
    Ok(Report { rows, notes: NOTES.map(str::to_owned).to_vec() })
}

const PARTS: [Part; 3] = [("enrol", enrol::rate), ("idle", idle::sessions), ("revoke", revoke::cuts)];

const NOTES: [&str; 3] = [
    "Devices and operator run on the same cores as the server; CPU seconds are the server's.",
    "Memory of a session is what the resident memory grows by; each sample starts a server of its own, and 100 sessions come \
     before it counts. mosquitto requires client certificates too and keeps MQTT sessions without keep-alive; it has no \
     record of its devices, which our server has loaded before.",
    "A revocation counts from the moment before the operator's program dials the API until the device has seen its session \
     end.",
];
