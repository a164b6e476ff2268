//! Sweeps of ranges, each beside the tool that is best at it.

use anyhow::Result;

use super::beside;
use super::field::Field;
use super::peers::{self, KLPOLL, Tool};
use crate::bench::{Options, Report};

/// One comparison: where, at what loss, with which arguments of ours and which peer.
pub(super) struct Sweep {
    what: &'static str,
    on_link: bool,
    /// Bits of the prefix; a test of the benchmark itself takes a smaller one.
    bits: u8,
    /// Thousandths of packets lost on their way.
    loss: u16,
    /// Hosts that answer TCP and no ping.
    deaf: bool,
    ours: &'static [&'static str],
    peer: Tool,
}

impl Sweep {
    pub(super) fn measure(&self, options: &Options) -> Result<Report> {
        let bits = if options.smoke { self.bits.max(22) } else { self.bits };
        let field = Field::make(self.on_link, bits)?;
        if self.deaf {
            field.crowd.run("sysctl", &["-qw", "net.ipv4.icmp_echo_ignore_all=1"])?;
        }
        let _loss = (self.loss > 0).then(|| field.crowd.loss(self.loss)).transpose()?;
        // Where packets are lost, a host in some thousand may be missed; never one where none are.
        let least = if self.loss == 0 { 100.0 } else { 99.0 };
        let look = |tool: &Tool, more: &[&str]| {
            field.forget()?;
            let run = field.run((tool.command)(&field)?.args(more))?;
            let found = field.found(&run.out);
            Ok((run, found))
        };
        let peer = (self.peer.name, || look(&self.peer, &[]));
        beside(options, self.what, (field.hosts(), least), || look(&KLPOLL, self.ours), peer)
    }

    const ROUTED: Self = Self {
        what: "/16 behind a router",
        on_link: false,
        bits: 16,
        loss: 0,
        deaf: false,
        ours: &["--profile", "max"],
        peer: peers::NMAP,
    };
    const LINK: Self = Self {
        what: "/20 on the link",
        on_link: true,
        bits: 20,
        ours: &["--profile", "lan"],
        peer: peers::ARP_SCAN,
        ..Self::ROUTED
    };
}

pub(super) const NMAP: Sweep = Sweep::ROUTED;
pub(super) const ZMAP: Sweep = Sweep { peer: peers::ZMAP, ..Sweep::ROUTED };
pub(super) const ZMAP_LOSS: Sweep =
    Sweep { what: "/16 behind a router, 5 % lost", loss: 50, peer: peers::ZMAP_THRICE, ..Sweep::ROUTED };
pub(super) const NMAP_LOSS: Sweep = Sweep {
    what: "/21 behind a router, 20 % lost",
    bits: 21,
    loss: 200,
    peer: peers::NMAP_CAREFUL,
    ..Sweep::ROUTED
};
pub(super) const ARP: Sweep = Sweep::LINK;
pub(super) const ARP_16: Sweep = Sweep {
    what: "/16 on the link",
    bits: 16,
    ours: &["--profile", "max"],
    peer: peers::ARP_SCAN_FASTEST,
    ..Sweep::LINK
};
pub(super) const POLITE: Sweep = Sweep {
    what: "/20 on the link, 2,000 packets a second against its default",
    ours: &["--profile", "polite"],
    peer: peers::ARP_SCAN_DEFAULT,
    ..Sweep::LINK
};
pub(super) const UNPRIVILEGED: Sweep = Sweep {
    what: "/20 behind a router, without privileges",
    bits: 20,
    ours: &["--profile", "max", "--unprivileged"],
    peer: peers::NMAP_UNPRIVILEGED,
    ..Sweep::ROUTED
};
pub(super) const FPING: Sweep = Sweep {
    what: "/22 on the link, without packet sockets",
    bits: 22,
    ours: &["--profile", "max", "--unprivileged"],
    peer: peers::FPING,
    ..Sweep::LINK
};
pub(super) const TCP: Sweep = Sweep {
    what: "/20 behind a router whose hosts refuse ping, by TCP 443",
    bits: 20,
    deaf: true,
    ours: &["--profile", "max", "--tcp", "443"],
    peer: peers::NMAP_TCP,
    ..Sweep::ROUTED
};
