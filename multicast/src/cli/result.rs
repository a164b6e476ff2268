//! What came of sending: each receiver, and an exit code.

use std::collections::BTreeMap;
use std::io::{self, Write};

use comfy_table::{Table, presets};
use serde::Serialize;

use super::args::SendArgs;
use super::failure::{MISSING, NOBODY};
use super::show;
use crate::feedback::State;
use crate::id::ReceiverId;
use crate::net::{Object, Sent, SentTo};

/// The result of all interfaces together.
pub(super) struct SendResult {
    receivers: Vec<SentTo>,
    symbols: u64,
    sources: u64,
    time: std::time::Duration,
    expect: Option<u32>,
}

#[derive(Serialize)]
struct Row<'a> {
    event: &'static str,
    receiver: String,
    label: &'a str,
    state: &'static str,
    demoted: bool,
    loss: Option<f64>,
    repaired: u32,
    seconds: Option<f64>,
}

impl SendResult {
    pub(super) fn new(sent: &[Sent], expect: Option<u32>) -> Self {
        let mut receivers: BTreeMap<ReceiverId, SentTo> = BTreeMap::new();
        for one in sent.iter().flat_map(|sent| &sent.receivers) {
            // Who was reached by two interfaces counts once, and as the better one says.
            let known = receivers.get(&one.receiver);
            if known.is_none_or(|known| known.state != State::Complete) {
                receivers.insert(one.receiver, one.clone());
            }
        }
        let mut receivers: Vec<_> = receivers.into_values().collect();
        receivers.sort_by(|a, b| a.label.cmp(&b.label));
        Self {
            receivers,
            symbols: sent.iter().map(|sent| sent.counts.symbols).max().unwrap_or(0),
            sources: sent.iter().map(|sent| sent.sources).max().unwrap_or(0),
            time: sent.iter().map(|sent| sent.time).max().unwrap_or_default(),
            expect,
        }
    }

    pub(super) fn exit_code(&self) -> u8 {
        let (complete, expected) = (self.complete(), self.expect.map_or(0, |expect| expect as usize));
        match (self.receivers.len(), complete) {
            (0, _) => NOBODY,
            (all, complete) if complete < expected.max(if expected > 0 { 0 } else { all }) => MISSING,
            _ => 0,
        }
    }

    pub(super) fn print(&self, args: &SendArgs, object: &Object) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if args.json {
            return self.print_json(&mut out, object);
        }
        if args.quiet {
            return Ok(());
        }
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["receiver", "state", "time", "rate", "loss", "repaired"]);
        for to in &self.receivers {
            let name = if to.label.is_empty() { to.receiver.to_string() } else { to.label.clone() };
            let rate = to.time.map(|time| show::rate(object.manifest.length, time));
            table.add_row([
                name,
                state(to).to_owned(),
                to.time.map(show::time).unwrap_or_default(),
                rate.unwrap_or_default(),
                to.loss.map(show::percent).unwrap_or_default(),
                format!("{} symbols", to.repaired),
            ]);
        }
        if !self.receivers.is_empty() {
            writeln!(out, "{table}")?;
        }
        let (name, complete, all) = (&object.manifest.name, self.complete(), self.receivers.len());
        let time = show::time(self.time);
        writeln!(
            out,
            "{name}: {complete} of {all} receivers complete in {time}, {:.3} symbols for each",
            self.ratio()
        )
    }

    fn print_json(&self, out: &mut impl Write, object: &Object) -> io::Result<()> {
        for to in &self.receivers {
            let row = Row {
                event: "receiver",
                receiver: to.receiver.to_string(),
                label: &to.label,
                state: state(to),
                demoted: to.demoted,
                loss: to.loss,
                repaired: to.repaired,
                seconds: to.time.map(|time| time.as_secs_f64()),
            };
            writeln!(out, "{}", serde_json::to_string(&row)?)?;
        }
        let result = serde_json::json!({
            "event": "result",
            "name": object.manifest.name,
            "version": object.manifest.version,
            "bytes": object.manifest.length,
            "receivers": self.receivers.len(),
            "complete": self.complete(),
            "seconds": self.time.as_secs_f64(),
            "symbols": self.symbols,
            "sources": self.sources,
        });
        writeln!(out, "{result}")
    }

    fn complete(&self) -> usize {
        self.receivers.iter().filter(|to| to.state == State::Complete).count()
    }

    /// Symbols sent for each of the object.
    fn ratio(&self) -> f64 {
        crate::loss::whole_f64(self.symbols) / crate::loss::whole_f64(self.sources.max(1))
    }
}

const fn state(to: &SentTo) -> &'static str {
    match to.state {
        State::Complete => "complete",
        State::Receiving => "missing",
        State::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_all_some_and_nobody_apart() {
        let code =
            |states: &[State], expect| SendResult { receivers: to(states), ..result(expect) }.exit_code();
        let (complete, missing) = (State::Complete, State::Receiving);
        assert_eq!(code(&[complete, complete], None), 0);
        assert_eq!(code(&[complete, missing], None), MISSING);
        assert_eq!(code(&[], None), NOBODY);
        assert_eq!(code(&[complete, missing], Some(1)), 0, "as many as expected");
        assert_eq!(code(&[complete], Some(2)), MISSING);
        assert_eq!(code(&[], Some(2)), NOBODY);
    }

    fn result(expect: Option<u32>) -> SendResult {
        SendResult { receivers: Vec::new(), symbols: 0, sources: 0, time: std::time::Duration::ZERO, expect }
    }

    fn to(states: &[State]) -> Vec<SentTo> {
        let one = |state: &State| SentTo {
            receiver: ReceiverId::random(),
            label: String::new(),
            state: *state,
            demoted: false,
            loss: None,
            repaired: 0,
            verified: 0,
            time: None,
        };
        states.iter().map(one).collect()
    }
}
