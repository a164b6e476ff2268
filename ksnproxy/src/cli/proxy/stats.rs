//! `ksnproxy stats`.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Map, Value};

use super::args::StatsArgs;
use super::failure::Failure;
use crate::cli::units::spoken;

/// Prints what a proxy counted.
pub(super) fn main(options: &StatsArgs) -> Result<(), Failure> {
    let body = fetch(options.metrics).map_err(|error| Failure::Metrics(options.metrics, error))?;
    let mut output = io::stdout().lock();
    if options.json {
        return writeln!(output, "{body}").map_err(Failure::Output);
    }
    for (name, label) in LABELS {
        let count = body[*name].as_u64().unwrap_or_default();
        writeln!(output, "{label:<28}{count}").map_err(Failure::Output)?;
    }
    if let Some(snapshot) = body["snapshot"].as_object() {
        for (label, value) in about(snapshot) {
            writeln!(output, "{label:<28}{value}").map_err(Failure::Output)?;
        }
    }
    let devices = body["devices"].as_object().into_iter().flatten();
    for (device, asked) in devices {
        writeln!(output, "  {device}  {asked}").map_err(Failure::Output)?;
    }
    Ok(())
}

/// What is said of the snapshot that is answered from.
fn about(snapshot: &Map<String, Value>) -> Vec<(&'static str, String)> {
    let number = |name: &str| snapshot.get(name).and_then(Value::as_u64);
    let ago =
        |name: &str| number(name).map(|seconds| format!("{} ago", spoken(Duration::from_secs(seconds))));
    let sources = snapshot.get("sources").and_then(Value::as_array).into_iter().flatten();
    let sources: Vec<_> = sources.filter_map(Value::as_str).collect();
    let part = if snapshot.get("whole") == Some(&Value::Bool(true)) { "" } else { ", a part of it" };
    let sequence = number("sequence").unwrap_or_default();
    let mut about = vec![("snapshot", format!("{sequence} ({}){part}", sources.join(", ")))];
    about.extend(ago("age").map(|ago| ("  made", ago)));
    // Of one that is not replicated nobody says so.
    about.extend(ago("checked").map(|ago| ("  known to be the newest", ago)));
    about
}

fn fetch(address: SocketAddr) -> io::Result<Value> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /stats HTTP/1.1\r\nHost: ksnproxy\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(LIMIT).read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(io::Error::other)
}

/// What each counter is called where people look.
const LABELS: &[(&str, &str)] = &[
    ("records", "records in cache"),
    ("received", "received"),
    ("served_from_cache", "served from cache"),
    ("served_stale", "  of them past their time"),
    ("rejected_full", "rejected: too many"),
    ("rejected_late", "rejected: too late"),
    ("forwarded", "forwarded"),
    ("succeeded", "  succeeded"),
    ("failed", "  failed"),
    ("challenged", "challenged"),
    ("refused", "refused"),
    ("limited", "limited"),
    ("malformed", "malformed"),
    ("not_authentic", "not authentic"),
    ("tickets_issued", "tickets issued"),
];

const TIMEOUT: Duration = Duration::from_secs(2);

/// More than 65,536 devices have.
const LIMIT: u64 = 16 << 20;
