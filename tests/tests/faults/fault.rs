//! One thing that breaks.

use std::time::Duration;

use anyhow::{Context, Result};
use klnet_tests::lab::{Host, wait_until};
use klnet_tests::sim::Rng;

use super::Site;

/// What breaks, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// `kill -9`, and a new start.
    Kill(Program),
    /// The server is stopped in order, and started again.
    Restart,
    /// The router of a device, or of the operator, and the server do not hear each other for so many milliseconds.
    Partition(Edge, u64),
    /// One flow is reset.
    Reset(Flow),
    /// A program stands still for so many milliseconds.
    Freeze(Program, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    Server,
    Agent(usize),
    Klsctunnel(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Edge {
    Device(usize),
    Operator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Flow {
    /// Between a device and the server: one that carries a tunnel, or the control connection.
    Device(usize),
    /// Between klsctunnel and the server.
    Operator,
    /// Between an agent and the service it leads to.
    Service(usize),
}

impl Fault {
    /// So many faults of every kind in a random order, but those that end a program first: what is left over would not
    /// be seen in one that has just started.
    pub(crate) fn draw(count: usize, rng: &mut Rng) -> Vec<Self> {
        let mut order: Vec<_> = (0..count).map(|number| (number % KINDS, rng.bits())).collect();
        order.sort_by_key(|(_, place)| *place);
        let mut faults: Vec<_> = order.into_iter().map(|(kind, _)| Self::of_kind(kind, rng)).collect();
        faults.sort_by_key(|fault| !fault.ends_a_program());
        faults
    }

    pub(crate) fn ends_a_program(self) -> bool {
        matches!(self, Self::Kill(_) | Self::Restart)
    }

    /// Whether every connection has to survive it: it is shorter than what makes a peer a dead one.
    pub(crate) fn is_survivable(self) -> bool {
        matches!(self, Self::Partition(..) | Self::Freeze(..))
    }

    /// Strikes, and makes good what does not end by itself. A fault that lasts is over early when `all_over` is.
    pub(crate) fn strike(self, site: &mut Site, rng: &mut Rng, all_over: impl Fn() -> bool) -> Result<()> {
        let lasts = |milliseconds| {
            let over = || Ok(all_over().then_some(()));
            wait_until(Duration::from_millis(milliseconds), over).map(drop)
        };
        match self {
            Self::Kill(program) => kill(site, program),
            Self::Restart => site.fleet.server_mut().stop(),
            Self::Partition(edge, milliseconds) => {
                let (router, server) = (router(site, edge)?, site.fleet.server().host().clone());
                router.partition(&server)?;
                lasts(milliseconds)?;
                router.heal()?;
                server.heal()
            }
            Self::Reset(flow) => reset(site, flow, rng),
            Self::Freeze(program, milliseconds) => {
                process(site, program)?.freeze()?;
                lasts(milliseconds)?;
                process(site, program)?.thaw()
            }
        }
    }

    fn of_kind(kind: usize, rng: &mut Rng) -> Self {
        let (device, way) = (rng.within(0..2), rng.within(0..3));
        let edge = if rng.chance(500) { Edge::Operator } else { Edge::Device(device) };
        // Well below the 20 s after which a peer that owes an acknowledgement is dead.
        let (short, long) = (500 + rng.below(1500), 500 + rng.below(5000));
        match kind {
            0 => Self::Kill(Program::Agent(device)),
            1 => Self::Partition(edge, long),
            2 => Self::Reset(Flow::Device(device)),
            3 => Self::Kill(Program::Klsctunnel(way)),
            4 => Self::Freeze(Program::Server, short),
            5 => Self::Reset(Flow::Operator),
            6 => Self::Kill(Program::Server),
            7 => Self::Freeze(Program::Agent(device), long),
            8 => Self::Reset(Flow::Service(device)),
            9 => Self::Restart,
            10 => Self::Freeze(Program::Klsctunnel(way), short),
            _ => Self::Partition(Edge::Device(device), short),
        }
    }
}

fn kill(site: &mut Site, program: Program) -> Result<()> {
    match program {
        Program::Server => site.fleet.server_mut().kill(),
        Program::Agent(device) => site.devices.get_mut(device).context("no such device")?.device.kill(),
        Program::Klsctunnel(_) => process(site, program)?.kill().map(drop),
    }
}

fn process(site: &mut Site, program: Program) -> Result<&mut klnet_tests::lab::Process> {
    match program {
        Program::Server => site.fleet.server_mut().process(),
        Program::Agent(device) => site.devices.get_mut(device).context("no such device")?.device.agent(),
        Program::Klsctunnel(way) => Ok(site.tunnels.get_mut(way).context("no such tunnel")?.tunnel.process()),
    }
}

fn router(site: &Site, edge: Edge) -> Result<Host> {
    Ok(match edge {
        Edge::Operator => site.anna.nat().router().clone(),
        Edge::Device(device) => {
            site.devices.get(device).context("no such device")?.device.nat().router().clone()
        }
    })
}

/// Ends one of the flows of a kind, by the port it comes from.
fn reset(site: &Site, flow: Flow, rng: &mut Rng) -> Result<()> {
    let (host, port) = match flow {
        Flow::Operator => (site.anna.host(), 29_200),
        Flow::Device(device) => (site.devices.get(device).context("no such device")?.device.host(), 23_100),
        Flow::Service(device) => {
            let place = site.devices.get(device).context("no such device")?;
            (place.device.host(), place.parley.port())
        }
    };
    let listing = host.run("ss", &["-Htn", "state", "established", &format!("dport = :{port}")])?;
    let flows: Vec<_> = listing.lines().filter_map(port_of).collect();
    if flows.is_empty() {
        // On a quick machine all of them were whole before this.
        return Ok(());
    }
    let chosen = flows.get(rng.within(0..flows.len())).context("one of them")?;
    host.kill_flows(&format!("dport = :{port} and sport = :{chosen}"))
}

/// The local port in a line of `ss`: queues, local address, peer.
fn port_of(line: &str) -> Option<u16> {
    line.split_whitespace().nth(2)?.rsplit(':').next()?.parse().ok()
}

const KINDS: usize = 12;
