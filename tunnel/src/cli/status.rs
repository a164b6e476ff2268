//! What the command shows: one live line on a terminal, plain lines elsewhere, or JSON.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde_json::json;

use super::args::{Options, Show};
use super::terms::{Terms, spelled};
use crate::net::initiator::Connection;
use crate::net::mover::Flow;
use crate::pair::{EndReason, PairEnd};

/// Shows what happens; shared by every connection.
pub(super) struct Status {
    target: String,
    output: Output,
    tally: Mutex<Tally>,
}

enum Output {
    Quiet,
    Json,
    /// Lines on standard error, since standard output belongs to the addresses.
    Plain,
    Terminal(ProgressBar),
}

/// What the live line is made of.
#[derive(Default)]
struct Tally {
    connections: u64,
    open: BTreeMap<u64, Arc<Flow>>,
    to_target: u64,
    to_initiator: u64,
    latency: Option<Duration>,
    terms: Option<Terms>,
    waiting: Option<Waiting>,
}

/// Why nothing goes on.
struct Waiting {
    why: String,
    /// The next try.
    due: Instant,
}

impl Status {
    pub(super) fn new(target: String, options: &Options) -> Self {
        let output = match options.show {
            Show { json: true, .. } => Output::Json,
            Show { quiet: true, .. } => Output::Quiet,
            _ if std::io::stderr().is_terminal() => Output::Terminal(live_line()),
            _ => Output::Plain,
        };
        Self { target, output, tally: Mutex::default() }
    }

    /// The local port is open.
    pub(super) fn listening(&self, addresses: &[SocketAddr], terms: Option<Terms>) {
        self.tally().terms = terms;
        let local: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        match &self.output {
            Output::Quiet => {}
            Output::Json => self.json(json!({
                "event": "listening", "local": local, "target": self.target,
                "start_by": terms.map(|terms| terms.start_by),
                "session_seconds": terms.map(|terms| terms.session.as_secs()),
            })),
            Output::Plain | Output::Terminal(_) => {
                say(&format!("{} -> {}", local.join(" and "), self.target))
            }
        }
        self.refresh();
    }

    /// A connection has reached the target; gives its number.
    pub(super) fn opened(&self, connection: &Connection, flow: Arc<Flow>, terms: Option<Terms>) -> u64 {
        let number = {
            let mut tally = self.tally();
            tally.connections += 1;
            let number = tally.connections;
            tally.open.insert(number, flow);
            tally.latency = Some(connection.took);
            tally.terms = terms;
            number
        };
        match &self.output {
            Output::Json => self.json(json!({
                "event": "opened", "connection": number, "address": connection.address,
                "milliseconds": connection.took.as_secs_f64() * 1000.0,
            })),
            Output::Plain => {
                let milliseconds = connection.took.as_secs_f64() * 1000.0;
                eprintln!("connection {number} to {} in {milliseconds:.1} ms", connection.address);
            }
            Output::Quiet | Output::Terminal(_) => {}
        }
        self.refresh();
        number
    }

    /// A connection is over.
    pub(super) fn closed(&self, number: u64, end: PairEnd) {
        {
            let mut tally = self.tally();
            tally.open.remove(&number);
            tally.to_target += end.to_target;
            tally.to_initiator += end.to_initiator;
        }
        let reason = reason(end.reason);
        match &self.output {
            Output::Json => self.json(json!({
                "event": "closed", "connection": number, "to_target": end.to_target,
                "to_initiator": end.to_initiator, "reason": reason,
            })),
            Output::Plain => {
                let (up, down) = (HumanBytes(end.to_target), HumanBytes(end.to_initiator));
                eprintln!("connection {number} {reason}: {up} up, {down} down");
            }
            Output::Quiet | Output::Terminal(_) => {}
        }
        self.refresh();
    }

    /// No connection comes about for now; `next` is the time until the next try.
    pub(super) fn waiting(&self, why: &dyn std::error::Error, next: Duration) {
        let why = why.to_string();
        match &self.output {
            Output::Json => {
                let seconds = next.as_secs_f64();
                self.json(json!({ "event": "waiting", "why": why, "retry_in_seconds": seconds }));
            }
            Output::Plain => eprintln!("waiting: {why}; next try in {:.1} s", next.as_secs_f64()),
            Output::Quiet | Output::Terminal(_) => {}
        }
        self.tally().waiting = Some(Waiting { why, due: Instant::now() + next });
        self.refresh();
    }

    /// What was waited for is there again.
    pub(super) fn reconnected(&self, after: Duration) {
        self.tally().waiting = None;
        match &self.output {
            Output::Json => {
                self.json(json!({ "event": "reconnected", "after_seconds": after.as_secs_f64() }))
            }
            Output::Plain => eprintln!("reconnected after {}", spelled(after)),
            Output::Terminal(line) => line.println(format!("reconnected after {}", spelled(after))),
            Output::Quiet => {}
        }
        self.refresh();
    }

    /// Something did not come about; said even when quiet.
    pub(super) fn failed(&self, what: &str, why: &dyn std::error::Error) {
        self.tally().waiting = None;
        match &self.output {
            Output::Json => self.json(json!({ "event": "failed", "what": what, "why": why.to_string() })),
            Output::Terminal(line) => line.println(format!("{what}: {why}")),
            Output::Plain | Output::Quiet => eprintln!("{what}: {why}"),
        }
    }

    /// Brings the live line up to date; once a second is enough.
    pub(super) fn refresh(&self) {
        if let Output::Terminal(line) = &self.output {
            line.set_message(self.tally().line(&self.target, SystemTime::now(), Instant::now()));
            line.tick();
        }
    }

    /// Leaves the terminal as it was; connections that still end say no more.
    pub(super) fn clear(&self) {
        if let Output::Terminal(line) = &self.output {
            line.finish_and_clear();
        }
    }

    fn json(&self, event: serde_json::Value) {
        say(&event.to_string());
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn line(&self, target: &str, now: SystemTime, instant: Instant) -> String {
        if let Some(Waiting { why, due }) = &self.waiting {
            let left = spelled(due.saturating_duration_since(instant));
            return format!("{target} | next try in {left} | {} open | {why}", self.open.len());
        }
        let sum = |done: u64, of: fn(&Flow) -> u64| self.open.values().fold(done, |sum, flow| sum + of(flow));
        let up = HumanBytes(sum(self.to_target, Flow::to_target));
        let down = HumanBytes(sum(self.to_initiator, Flow::to_initiator));
        let (open, all) = (self.open.len(), self.connections);
        let mut line = format!("{target} | {open} open, {all} in all | {up} up, {down} down");
        if let Some(latency) = self.latency {
            line += &format!(" | opened in {:.1} ms", latency.as_secs_f64() * 1000.0);
        }
        if let Some(terms) = self.terms {
            line += &format!(" | {}", terms.expiry(now));
        }
        line
    }
}

fn reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Finished => "finished",
        EndReason::Idle => "idle for too long",
        EndReason::Shutdown => "stopped",
        // The other end says no more than that: the audit log of the server knows why.
        _ => "cut",
    }
}

/// Writes a line to standard output at once, even into a pipe.
fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    // Who closed the pipe does not want to know.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

fn live_line() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {wide_msg}").expect("a constant template");
    ProgressBar::new_spinner().with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_target_connections_and_bytes() {
        let tally = Tally { connections: 3, to_target: 2048, latency: Some(MS * 12), ..Tally::default() };
        let line = tally.line("web-7:22", SystemTime::UNIX_EPOCH, Instant::now());
        assert_eq!(line, "web-7:22 | 0 open, 3 in all | 2.00 KiB up, 0 B down | opened in 12.0 ms");
    }

    #[test]
    fn the_line_says_why_nothing_goes_on_and_when_the_next_try_is() {
        let now = Instant::now();
        let waiting = Waiting { why: "the relay is away".into(), due: now + MS * 3000 };
        let tally = Tally { waiting: Some(waiting), ..Tally::default() };
        let line = tally.line("web-7:22", SystemTime::UNIX_EPOCH, now);
        assert_eq!(line, "web-7:22 | next try in 3 s | 0 open | the relay is away");
    }

    const MS: Duration = Duration::from_millis(1);
}
