//! How much a poll may ask of the network.

use std::time::Duration;

/// A choice between gentle and fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// For weak switches: bursts their storm control and ARP inspection let through.
    Gentle,
    /// For any network at any time.
    #[default]
    Polite,
    /// For a local network that has nothing else to do.
    Lan,
    /// As fast as this machine sends.
    Max,
}

/// At most so many packets in any span of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Packets; at least 1.
    pub burst: u32,
    /// The length of the span.
    pub per: Duration,
}

impl Profile {
    /// The bound on packets, which holds in every span of its length.
    pub const fn pace(self) -> Pace {
        let (burst, per) = match self {
            // Switches that dropped 56 of 160 answers to bursts of 200 ARP requests answered all of 64 each 250 ms.
            Self::Gentle => (63, Duration::from_millis(250)),
            // 20 in 10 ms is what is promised; one of them is left to the kernel, which may ask for its gateway.
            Self::Polite => (19, Duration::from_millis(10)),
            Self::Lan => (200, Duration::from_millis(10)),
            Self::Max => (4_000, Duration::from_millis(10)),
        };
        Pace { burst, per }
    }

    /// How long the last answers are waited for at least.
    pub const fn patience(self) -> Duration {
        match self {
            // Longer than a handheld in power save takes to wake up.
            Self::Gentle | Self::Polite => Duration::from_secs(1),
            Self::Lan | Self::Max => Duration::from_millis(100),
        }
    }
}
