//! What became of a probe.

/// What became of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum Went {
    /// It is on its way, or waits for others to be sent with it.
    Out,
    /// It waits, and enough others do: it is time to flush.
    Batched,
    /// There is no room now: to be tried again.
    Full,
    /// There is no way to that address.
    Refused,
}
