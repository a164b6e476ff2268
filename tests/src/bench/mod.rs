//! The runner behind `tests/bench NAME`: this project against its peers, on one machine, in one run.
//!
//! A shared machine is noisy, so a figure alone says little. Ours and the peer's run in alternation, A B B A A B, and
//! each round gives one ratio; what is reported is the spread of those ratios, and the CPU seconds of each side.
//!
//! Rows whose figures come from the same runs are one call of [`compare_each`]; what has no peer, of [`measure_each`].
//!
//! To add a benchmark: write `src/bench/NOUN.rs` with a `pub(super) fn run(options: &Options) -> Result<Report>`, and
//! give it a line in [`ALL`]. A row is one call of [`compare`]:
//!
//! ```
//! use klnet_tests::bench::{Better, Options, Report, Sample, Subject, compare};
//!
//! # fn main() -> anyhow::Result<()> {
//! let options = Options { rounds: 3, ..Options::default() };
//! let row = compare(
//!     &options,
//!     Subject { what: "sum of a million numbers", unit: "M/s", better: Better::Higher },
//!     ("iterator", || Sample::of_this_process(|elapsed| { (0..1_000_000_u64).sum::<u64>(); Ok(1.0 / elapsed().as_secs_f64()) })),
//!     ("loop", || Sample::of_this_process(|elapsed| { let mut s = 0; for n in 0..1_000_000_u64 { s += n; } std::hint::black_box(s); Ok(1.0 / elapsed().as_secs_f64()) })),
//! )?;
//! println!("{}", Report { rows: vec![row], notes: vec![] }.table());
//! # Ok(())
//! # }
//! ```

mod compare;
mod discovery;
mod fleet;
mod ksnproxy;
mod machine;
mod multicast;
mod part;
mod percentile;
mod place;
mod report;
mod section;
mod server;
mod simulator;
mod spread;
mod store;
mod tunnel;
mod wire;

use anyhow::Result;

pub use compare::{Sample, Samples, Subject, compare, compare_each, measure_each};
pub use machine::machine;
pub use report::{Better, Peer, Report, Row, Side};
pub use section::replace_section;
pub use spread::Spread;

/// A benchmark that `tests/bench` knows by name.
#[derive(Clone, Copy, Debug)]
pub struct Benchmark {
    /// What to type.
    pub name: &'static str,
    /// One line: what is compared with what.
    pub about: &'static str,
    /// Measures; the headline rows take at most 30 minutes.
    pub run: fn(&Options) -> Result<Report>,
}

/// How to run a benchmark.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The whole matrix instead of the headline rows.
    pub full: bool,
    /// Rounds of each row; in each both sides run once.
    pub rounds: usize,
    /// Smaller sizes, for benchmarks whose usual ones take long.
    pub quick: bool,
    /// Tiny sizes, for a test of the benchmark itself; its figures say nothing.
    pub smoke: bool,
    /// Only this part of a benchmark that has several.
    pub only: Option<String>,
}

/// Every benchmark there is.
pub const ALL: &[Benchmark] = &[
    Benchmark {
        name: "discovery",
        about: "klpoll against nmap, zmap, arp-scan, fping, avahi-browse, ldapsearch and nbtscan",
        run: discovery::run,
    },
    Benchmark {
        name: "fleet",
        about: "enrolling, idle and revoked devices of a server; idle ones against mosquitto",
        run: fleet::run,
    },
    Benchmark {
        name: "ksnproxy",
        about: "ksnproxy, against memcached, Redis, unbound, dnsdist, Knot DNS, nginx, clamscan, sqlite3, quick_cache and redb",
        run: ksnproxy::run,
    },
    Benchmark {
        name: "multicast",
        about: "klcast, against uftp, udpcast, NORM and FLUTE",
        run: multicast::run,
    },
    Benchmark {
        name: "simulator",
        about: "datagrams a second through the simulated network, against a bare heap of the same arrivals",
        run: simulator::run,
    },
    Benchmark {
        name: "store",
        about: "durable guarded writes through the store's contract, against etcd and PostgreSQL; a restart with a million devices",
        run: store::run,
    },
    Benchmark { name: "tunnel", about: "our tunnel, against haproxy, rathole and OpenSSH", run: tunnel::run },
    Benchmark {
        name: "wire",
        about: "frames and messages of the agent protocol, against LengthDelimitedCodec, prost and yamux",
        run: wire::run,
    },
];
