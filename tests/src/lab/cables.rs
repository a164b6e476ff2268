//! The cables of a switch: what of the multicast traffic they lose, how fast they are, and what is counted on them.

use anyhow::{Context, Result};

use super::tool::{run, system};
use super::{Host, Switch};

/// Loss of multicast on the cables of a switch, for as long as this lives.
///
/// It happens where a frame leaves the switch: each datagram on its own, before the host behind it joins any, and before
/// it is counted there. Unicast is let through.
#[derive(Debug)]
pub struct Cables {
    switch: Switch,
}

impl Switch {
    /// Filters multicast as switches do: to those that have joined, for as long as somebody asks them (RFC 4541).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn snoop(&self) -> Result<()> {
        self.query("mcast_startup_query_interval 100 mcast_query_interval 1000")
    }

    /// The same, but after a first question nobody asks again: who is forgotten has to join anew by itself.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn snoop_and_never_ask(&self) -> Result<()> {
        self.query(
            "mcast_startup_query_count 1 mcast_startup_query_interval 100000 mcast_query_interval 100000",
        )
    }

    /// Forgets that these hosts are in a group.
    ///
    /// # Errors
    /// When one of them is not known to be.
    pub fn forget_members(&self, hosts: &[&Host], group: &str) -> Result<()> {
        for host in hosts {
            let command = format!("mdb del dev bridge port {} grp {group}", self.port(host));
            run(self.namespace().place(system("bridge")).args(command.split(' ')))?;
        }
        Ok(())
    }

    /// Counts large multicast datagrams, and loses `permille` of all multicast to each of these hosts.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn cables(&self, losses: &[(&Host, u16)]) -> Result<Cables> {
        let ports: Vec<_> = self.namespace().devices().collect();
        let chain = |(host, permille): &(&Host, u16)| {
            let port = self.port(host);
            let lose = match permille {
                0 => String::new(),
                _ => format!(
                    "ip daddr 224.0.0.0/4 ip protocol udp numgen random mod 1000 < {permille} counter name lost drop"
                ),
            };
            format!(
                "chain {port} {{
                     type filter hook egress device {port} priority 0;
                     ip daddr 224.0.0.0/4 ip protocol udp counter name seen
                     {lose}
                 }}
                 "
            )
        };
        let chains: String = losses.iter().map(chain).collect();
        let arrivals = ports.join(", ");
        self.namespace().nft(&format!(
            "table netdev cables {{}}
             delete table netdev cables
             table netdev cables {{
                 counter sent {{}}
                 counter seen {{}}
                 counter lost {{}}
                 chain arriving {{
                     type filter hook ingress devices = {{ {arrivals} }} priority 0;
                     ip daddr 224.0.0.0/4 meta length > {LARGE} counter name sent
                 }}
                 {chains}
             }}"
        ))?;
        Ok(Cables { switch: self.clone() })
    }

    /// Lets a host's cable carry so many bits a second towards it; more than 50 ms of them in a queue are dropped.
    ///
    /// # Errors
    /// When `tc` refuses.
    pub fn limit_cable(&self, host: &Host, bits_per_second: u64) -> Result<()> {
        let shape = format!("rate {bits_per_second}bit burst 64k latency 50ms");
        let command = format!("qdisc replace dev {} root tbf {shape}", self.port(host));
        run(self.namespace().place(system("tc")).args(command.split(' '))).map(drop)
    }

    /// Has a host take datagrams in chains, as network cards do: the system joins them behind the cable.
    ///
    /// # Errors
    /// When `ethtool` refuses.
    pub fn join_datagrams(&self, host: &Host) -> Result<()> {
        // A virtual cable joins nothing for a peer that could have sent it whole.
        run(self.namespace().place(system("ethtool")).args(["-K", &self.port(host), "tso", "off"]))?;
        host.run("ethtool", &["-K", "eth0", "gro", "on"]).map(drop)
    }

    /// Passes chains of datagrams on whole, as cards with segmentation do; loss would take a chain at once.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn pass_chains(&self, hosts: &[&Host]) -> Result<()> {
        for host in hosts {
            host.ip("link set eth0 gso_max_segs 65535")?;
            self.namespace().ip(&format!("link set {} gso_max_segs 65535", self.port(host)))?;
        }
        Ok(())
    }

    /// Has the switch ask who is in which group, and filter a tenth of a second later.
    fn query(&self, how_often: &str) -> Result<()> {
        // The time to answer counts from the moment it asks, so it is set before.
        let times = format!("mcast_snooping 1 mcast_query_response_interval 10 {how_often}");
        for settings in [times.as_str(), "mcast_querier 1"] {
            self.namespace().ip(&format!("link set bridge type bridge {settings}"))?;
        }
        Ok(())
    }

    /// The device of the switch that a host is plugged into: they were handed out in the order of the addresses.
    fn port(&self, host: &Host) -> String {
        let [.., last] = host.address().octets();
        format!("eth{}", last - 1)
    }
}

impl Cables {
    /// Multicast datagrams with more than headers in them that came into the switch.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn sent(&self) -> Result<u64> {
        self.counter("sent")
    }

    /// Multicast datagrams on their way to hosts, lost ones included.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn seen(&self) -> Result<u64> {
        self.counter("seen")
    }

    /// Those that were lost: the proof that there was loss.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn lost(&self) -> Result<u64> {
        self.counter("lost")
    }

    fn counter(&self, name: &str) -> Result<u64> {
        let mut nft = self.switch.namespace().place(system("nft"));
        let listing = run(nft.args(["list", "counter", "netdev", "cables", name]))?;
        let mut words = listing.split_whitespace().skip_while(|word| *word != "packets").skip(1);
        words.next().and_then(|n| n.parse().ok()).with_context(|| format!("no packet count in: {listing}"))
    }
}

impl Drop for Cables {
    fn drop(&mut self) {
        let _ = self.switch.namespace().nft("delete table netdev cables");
    }
}

/// Bytes of a packet that is no control packet.
const LARGE: u16 = 700;
