//! Polling a network beside the tools people use for it: time until the answer is printed, and how much of it is true.
//!
//! ```text
//! poller ──wire── crowd     answers for every fifth address of what is behind it, and of what is on the wire
//! ```
//! Both sides get the same ranges, and both are judged by what is there: a sample whose recall is below what its row
//! demands fails the benchmark on our side, and is reported on the peer's.

mod field;
mod peers;

use anyhow::{Result, ensure};

use super::report::Better;
use super::{Options, Report, Row, Samples, Subject, compare_each};
use field::Field;
use peers::{KLPOLL, Tool};

pub(super) fn run(options: &Options) -> Result<Report> {
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let parts: Vec<_> = PARTS.iter().filter(|part| wanted(part.name)).collect();
    ensure!(!parts.is_empty(), "the parts are: {}", PARTS.map(|part| part.name).join(", "));
    let mut rows = Vec::new();
    for part in parts {
        eprintln!("{} ...", part.name);
        rows.extend(part.measure(options)?);
    }
    Ok(Report { rows, notes: NOTES.map(str::to_owned).to_vec() })
}

/// One comparison: where, at what loss, with which arguments of ours and which peer.
struct Part {
    name: &'static str,
    what: &'static str,
    on_link: bool,
    /// Bits of the prefix, and of that in a test of the benchmark itself.
    bits: u8,
    /// Thousandths of packets lost on their way.
    loss: u16,
    ours: &'static [&'static str],
    peer: Tool,
}

impl Part {
    fn measure(&self, options: &Options) -> Result<Vec<Row>> {
        let bits = if options.smoke { self.bits.max(22) } else { self.bits };
        let field = Field::make(self.on_link, bits)?;
        let _loss = (self.loss > 0).then(|| field.crowd.loss(self.loss)).transpose()?;
        let (time, recall) = (format!("{}: time", self.what), format!("{}: recall", self.what));
        let subjects = [
            Subject { what: &time, unit: "s", better: Better::Lower },
            Subject { what: &recall, unit: "%", better: Better::Higher },
        ];
        let ours = || -> Result<Samples<2>> {
            let sample = field.sample(&KLPOLL, self.ours)?;
            // Where packets are lost, a host in some thousand may be missed; never one where none are.
            let least = if self.loss == 0 { 100.0 } else { 99.0 };
            ensure!(sample.figures[1] >= least, "only {} % were found", sample.figures[1]);
            Ok(sample)
        };
        compare_each(options, subjects, ("klpoll", ours), (self.peer.name, || field.sample(&self.peer, &[])))
    }
}

const PARTS: [Part; 6] = [
    Part {
        name: "nmap",
        what: "/16 behind a router",
        on_link: false,
        bits: 16,
        loss: 0,
        ours: &["--profile", "max"],
        peer: peers::NMAP,
    },
    Part {
        name: "zmap",
        what: "/16 behind a router",
        on_link: false,
        bits: 16,
        loss: 0,
        ours: &["--profile", "max"],
        peer: peers::ZMAP,
    },
    Part {
        name: "zmap-loss",
        what: "/16 behind a router, 5 % lost",
        on_link: false,
        bits: 16,
        loss: 50,
        ours: &["--profile", "max"],
        peer: peers::ZMAP_THRICE,
    },
    Part {
        name: "nmap-loss",
        what: "/21 behind a router, 20 % lost",
        on_link: false,
        bits: 21,
        loss: 200,
        ours: &["--profile", "max"],
        peer: peers::NMAP_CAREFUL,
    },
    Part {
        name: "arp",
        what: "/20 on the link",
        on_link: true,
        bits: 20,
        loss: 0,
        ours: &["--profile", "lan"],
        peer: peers::ARP_SCAN,
    },
    Part {
        name: "polite",
        what: "/20 on the link, 2,000 packets a second against its default",
        on_link: true,
        bits: 20,
        loss: 0,
        ours: &["--profile", "polite"],
        peer: peers::ARP_SCAN_DEFAULT,
    },
];

const NOTES: [&str; 3] = [
    "Both sides run on the cores that also answer for the network. CPU seconds are those of the tool.",
    "A fifth of the addresses has a host. Recall is counted against what is there.",
    "Tables of neighbours are emptied before each run. zmap waits 2 s for late answers, as it was told.",
];
