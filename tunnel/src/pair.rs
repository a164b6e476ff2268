//! Two joined sockets: their names, limits, and how they end.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// Names one socket inside one core; a relay's driver chooses them, a target's core does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Names one joined pair of sockets inside one relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairId(pub u64);

/// What the mover of a pair must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairLimits {
    /// Ends the pair after this long without a byte in either direction.
    pub idle: Duration,
    /// Ends the pair after this long without a byte once one direction has ended: its peer waits for an answer, not for
    /// ever.
    pub linger: Duration,
    /// Ends the pair at this instant whatever it does; the core sends a `Cut` then too.
    pub deadline: Option<Instant>,
    /// Most bytes per second in each direction; `None` is unlimited.
    pub rate: Option<NonZeroU64>,
}

/// What a pair moved, and why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairEnd {
    /// Bytes from the initiator to the target.
    pub to_target: u64,
    /// Bytes from the target to the initiator.
    pub to_initiator: u64,
    /// Why it ended.
    pub reason: EndReason,
}

/// Why a connection ended. Numbers are part of the record format and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum EndReason {
    /// A reason of a newer version.
    Unknown = 0,
    /// Both directions were closed in order.
    Finished = 1,
    /// One side was reset or vanished.
    Reset = 2,
    /// No byte in either direction for the idle limit, or for [`LINGER`] when one direction had ended.
    Idle = 3,
    /// The session maximum was reached.
    SessionOver = 4,
    /// The control connection was away for the orphan limit.
    Orphaned = 5,
    /// The grant was revoked.
    Revoked = 6,
    /// The inner handshake did not end in a verified key.
    Rejected = 7,
    /// The target answered REFUSED.
    Refused = 8,
    /// More connections than the grant allows.
    OverLimit = 9,
    /// The process that carried it was asked to stop.
    Shutdown = 10,
}

impl EndReason {
    /// The reason in a word or two, for the audit log and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Finished => "finished",
            Self::Reset => "reset",
            Self::Idle => "idle",
            Self::SessionOver => "session over",
            Self::Orphaned => "orphaned",
            Self::Revoked => "revoked",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::OverLimit => "over limit",
            Self::Shutdown => "shutdown",
        }
    }
}

/// How long a connection that is closed in one direction may go without a byte in the other. Between haproxy's default
/// for tunnels, which is none and leaks, and a proxy's that closes both at once, which truncates.
pub const LINGER: Duration = Duration::from_secs(120);

/// The longest life of a dial-back that waits for its initiator, equally at relay and target.
pub const SPARE_LIFE: Duration = Duration::from_secs(30);
