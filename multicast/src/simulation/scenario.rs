//! What is to happen.

use std::time::Duration;

use super::link::{Link, Pattern};
use crate::layout::Layout;
use crate::sender;

/// What is to happen.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Everything is drawn from it.
    pub seed: u64,
    /// The object.
    pub layout: Layout,
    /// The receivers.
    pub links: Vec<Link>,
    /// The sender.
    pub sender: sender::Config,
    /// Who forges symbols; only receivers with bytes can tell.
    pub insider: Option<Insider>,
    /// Who is killed and started again, and when.
    pub restarts: Vec<(Duration, Who)>,
    /// When the sender does not get the processor, and until when.
    pub stalls: Vec<(Duration, Duration)>,
    /// When to stop looking.
    pub end: Duration,
}

/// Somebody of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The sender, and so the session.
    Sender,
    /// A receiver.
    Receiver(usize),
}

/// What somebody does who forges symbols: a member of the group, with the keys of all members and not the announcer's.
#[derive(Debug, Clone, Copy)]
pub struct Insider {
    /// When it begins.
    pub from: Duration,
    /// When it has enough.
    pub until: Duration,
    /// Between two runs of forged symbols.
    pub every: Duration,
    /// How many symbols a run has.
    pub count: u16,
}

impl Scenario {
    /// `receivers` that lose independently, an object of `length` bytes, until all have it.
    pub fn new(seed: u64, length: u64, receivers: usize, loss: f64) -> Self {
        let layout = Layout::new(4096, length, 22, 1408).expect("a usual layout");
        let link = Link { loss: Pattern::Independent(loss), ..Link::default() };
        let expect = u32::try_from(receivers).ok();
        Self {
            seed,
            layout,
            links: vec![link; receivers],
            sender: sender::Config { expect, cap: 1_000_000_000, ..sender::Config::default() },
            insider: None,
            restarts: Vec::new(),
            stalls: Vec::new(),
            end: Duration::from_secs(600),
        }
    }
}
