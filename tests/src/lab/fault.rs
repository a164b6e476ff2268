//! Faults of the network around a host: loss, partition, deafness.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};

use super::Host;

/// Loss on a host, for as long as this lives.
#[derive(Debug)]
pub struct Loss {
    host: Host,
}

impl Host {
    /// Drops `permille` of the packets that arrive at this host (or pass through it), each on its own.
    ///
    /// Only one loss at a time; a second call replaces the first.
    ///
    /// # Errors
    /// When `permille` is above 1000 or `nft` refuses.
    pub fn loss(&self, permille: u16) -> Result<Loss> {
        ensure!(permille <= 1000, "loss of {permille} permille exceeds 1000");
        self.namespace().nft(&format!(
            "table inet loss {{}}
             delete table inet loss
             table inet loss {{
                 counter seen {{}}
                 counter lost {{}}
                 chain arriving {{
                     type filter hook prerouting priority -350;
                     iifname lo accept
                     counter name seen
                     numgen random mod 1000 < {permille} counter name lost drop
                 }}
             }}"
        ))?;
        Ok(Loss { host: self.clone() })
    }

    /// Cuts all traffic between the two hosts, connections included; both can still talk to everyone else.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn partition(&self, other: &Host) -> Result<()> {
        self.deafen(other)?;
        other.deafen(self)
    }

    /// Cuts only what comes from `other`: this host is still heard, and hears nothing (half open).
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn deafen(&self, other: &Host) -> Result<()> {
        let silenced = joined(&other.addresses());
        self.namespace().nft(&format!(
            "table ip partition {{
                 set silenced {{ type ipv4_addr; }}
                 chain arriving {{ type filter hook prerouting priority -360; }}
             }}
             flush chain ip partition arriving
             add element ip partition silenced {{ {silenced} }}
             add rule ip partition arriving ip saddr @silenced counter drop"
        ))?;
        Ok(())
    }

    /// Hears everyone again. After [`Host::partition`] both hosts have to heal.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn heal(&self) -> Result<()> {
        self.namespace().nft("table ip partition {}\ndelete table ip partition")?;
        Ok(())
    }

    /// Lets at most so many bits a second leave this host; more than 50 ms of them in a queue are dropped.
    ///
    /// # Errors
    /// When `tc` refuses.
    pub fn limit_rate(&self, bits_per_second: u64) -> Result<()> {
        let shape = format!("rate {bits_per_second}bit burst 64k latency 50ms");
        for device in self.namespace().devices() {
            let command = format!("qdisc replace dev {device} root tbf {shape}");
            self.run("tc", &command.split(' ').collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Ends TCP flows of this host at once, as `ss -K FILTER`: `"dport = :23100"`, `"dst 10.77.1.1"`.
    ///
    /// # Errors
    /// What `ss` says.
    pub fn kill_flows(&self, filter: &str) -> Result<()> {
        self.run("ss", &["-K", "-t", filter]).map(drop)
    }
}

impl Loss {
    /// Packets that arrived, lost ones included.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn seen(&self) -> Result<u64> {
        self.counter("seen")
    }

    /// Packets dropped: the proof that there was loss.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn lost(&self) -> Result<u64> {
        self.counter("lost")
    }

    fn counter(&self, name: &str) -> Result<u64> {
        let listing = self.host.run("nft", &["list", "counter", "inet", "loss", name])?;
        let mut words = listing.split_whitespace().skip_while(|word| *word != "packets").skip(1);
        words.next().and_then(|n| n.parse().ok()).with_context(|| format!("no packet count in: {listing}"))
    }
}

impl Drop for Loss {
    fn drop(&mut self) {
        let _ = self.host.namespace().nft("delete table inet loss");
    }
}

fn joined(addresses: &[Ipv4Addr]) -> String {
    addresses.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", ")
}
