//! Status and reports, as text for a terminal.

use std::time::Duration;

use crate::check::{Outcome, Report};
use crate::distribution::{Group, ObjectShown, Shown};
use crate::neighbours::Neighbour;
use crate::status::{Connection, Status};
use crate::unix::unix_now;

/// The status in a few lines.
pub(super) fn status(status: &Status, running: bool) -> String {
    let since = span(unix_now().saturating_sub(status.since));
    let connection = match &status.connection {
        _ if !running => "not running".to_owned(),
        Connection::Connecting => "looks for a server".to_owned(),
        Connection::Connected { server, address, epoch, .. } => {
            format!("connected to {server} ({address}), session {epoch}, for {since}")
        }
        Connection::Waiting { seconds } => {
            format!("not connected for {since}; a try every {seconds} s or so")
        }
        Connection::Keyless { seconds } => {
            format!("without its key for {since}; a try every {seconds} s or so")
        }
        Connection::Banned { reason } => {
            format!("stopped: the server refuses this device for good: {reason}")
        }
        Connection::Stopped => format!("stopped {since} ago"),
    };
    let mut lines = vec![("device", status.device.clone()), ("connection", connection)];
    if let Connection::Connected { heartbeat_ms, round_trip_ms, .. } = &status.connection {
        let answered =
            round_trip_ms.map_or(String::new(), |took| format!(", the last answered in {took} ms"));
        lines.push(("heartbeat", format!("every {:?}{answered}", Duration::from_millis(*heartbeat_ms))));
    }
    if let Some(skew) = status.clock_skew {
        lines.push(("clock", format!("{skew:+} s against the server's")));
    }
    lines.push(("tunnels", format!("{} connections", status.tunnel_connections)));
    lines.extend(distribution(&status.distribution));
    lines.extend(neighbours(&status.neighbours));
    if let Some(error) = &status.last_error {
        let ago = span(unix_now().saturating_sub(error.at));
        lines.push(("last error", format!("{} ({ago} ago)", error.text)));
    }
    lines.push(("klnagent", format!("{}, process {}", status.build, status.pid)));
    lines.into_iter().map(|(name, text)| format!("{name:<12}{text}\n")).collect()
}

/// What is distributed to the device, and by it.
fn distribution(shown: &Shown) -> Vec<(&'static str, String)> {
    let group = |verb: &str, group: &Group| format!("{verb} {}, epoch {}", group.address, group.epoch);
    let receives = shown.receives.as_ref().map(|one| ("multicast", group("listens to", one)));
    let brings = shown.brings.as_ref().map(|one| ("brings", group("sends to", one)));
    let object = |object: &ObjectShown| {
        let ObjectShown { name, version, length, state, reason } = object;
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        ("object", format!("{name} {version}, {length} bytes, {state}{why}"))
    };
    receives.into_iter().chain(brings).chain(shown.objects.iter().map(object)).collect()
}

/// Other agents of its networks; of many, the first.
fn neighbours(neighbours: &[Neighbour]) -> Vec<(&'static str, String)> {
    let line = |one: &Neighbour| ("neighbour", format!("{}, {}", one.name, one.addresses.join(" ")));
    let mut lines: Vec<_> = neighbours.iter().take(NEIGHBOURS).map(line).collect();
    let more = neighbours.len() - lines.len();
    if more > 0 {
        lines.push(("neighbour", format!("and {more} more; --json has them all")));
    }
    lines
}

/// The report: a line for each step, and what to do below one that failed.
pub(super) fn report(report: &Report) -> String {
    let mut text = String::new();
    for step in &report.steps {
        let (mark, detail, advice) = match &step.outcome {
            Outcome::Ok { detail } => ("ok", detail.as_str(), None),
            Outcome::Failed { why, advice } => ("FAILED", why.as_str(), Some(advice)),
            Outcome::Skipped => ("-", "not tried", None),
        };
        text += &format!("{mark:<8}{:<21}{detail}\n", step.name);
        if let Some(advice) = advice {
            text += &format!("{:<29}-> {advice}\n", "");
        }
    }
    text
}

/// Lines of neighbours that leave the rest on one screen.
const NEIGHBOURS: usize = 8;

fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
