//! What a sweep takes in and gives out.

use std::net::IpAddr;
use std::time::Duration;

use crate::probe::Answer;

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// An answer came to this method; whether it is one to this poll's probes has been checked.
    Answered(u16, Answer),
    /// Everything handed out before is on its way.
    Sent,
    /// There is no way to this address, or nobody there to answer: it is not asked again.
    Refused(IpAddr),
    /// The kernel or the network cannot take so much.
    Congested,
}

/// Something is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send a probe.
    Probe {
        /// By this method: they are numbered from 0.
        method: u16,
        /// To this address.
        target: IpAddr,
        /// Which attempt it is: what the probe carries, so that its answer tells.
        attempt: u16,
    },
    /// A host answered for the first time.
    Found {
        /// Its answer.
        answer: Answer,
        /// The round trip, when it was timed and belongs to one probe beyond doubt.
        rtt: Option<Duration>,
    },
    /// The sweep is over.
    Over,
}
