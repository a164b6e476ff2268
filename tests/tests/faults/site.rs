//! Two devices, an operator with several tunnels to them, and the server between.

use anyhow::{Context, Result};
use klnet_tests::fleet::service::Parley;
use klnet_tests::fleet::{Device, Fleet, Operator, PATIENCE, Tunnel};
use klnet_tests::lab::Lab;

/// What is about to break.
pub(crate) struct Site {
    pub(crate) fleet: Fleet,
    pub(crate) devices: Vec<Place>,
    pub(crate) anna: Operator,
    /// Each with a grant of its own; the last keeps connections ready.
    pub(crate) tunnels: Vec<Way>,
}

/// A device and the service on it.
pub(crate) struct Place {
    pub(crate) device: Device,
    pub(crate) parley: Parley,
}

/// A `klsctunnel`, and the device it leads to.
pub(crate) struct Way {
    pub(crate) tunnel: Tunnel,
    pub(crate) to: usize,
    keeps_ready: bool,
}

impl Site {
    /// `None` where there can be no lab.
    pub(crate) fn open() -> Result<Option<Self>> {
        let Some(lab) = Lab::or_skip("storm") else { return Ok(None) };
        let fleet = Fleet::new(&lab)?;
        let devices = ["web-7", "web-8"].map(|name| {
            let device = fleet.device(name)?;
            let parley = Parley::start(device.host())?;
            Ok(Place { device, parley })
        });
        let devices = devices.into_iter().collect::<Result<Vec<_>>>()?;
        let anna = fleet.operator("anna", &["tunnel"])?;
        let mut site = Self { fleet, devices, anna, tunnels: Vec::new() };
        for (to, keeps_ready) in [(0, false), (1, false), (0, true)] {
            let way = site.way(to, keeps_ready)?;
            site.tunnels.push(way);
        }
        Ok(Some(site))
    }

    /// Starts the server, the agents and the tunnels that are down, and waits until all of it works.
    pub(crate) fn repair(&mut self) -> Result<()> {
        if self.fleet.server().pid().is_err() {
            self.fleet.server_mut().start()?;
        }
        for place in &mut self.devices {
            if place.device.pid().is_err() {
                place.device.start()?;
            }
        }
        for place in &self.devices {
            self.fleet.wait_online(&place.device, true, PATIENCE * 2)?;
        }
        for number in 0..self.tunnels.len() {
            self.ensure_open(number)?;
        }
        Ok(())
    }

    /// Ends the tunnel that keeps connections ready: those are not left over from anything.
    pub(crate) fn end_ready_tunnels(&mut self) -> Result<()> {
        for way in self.tunnels.iter_mut().filter(|way| way.keeps_ready) {
            way.tunnel.process().terminate(PATIENCE)?;
        }
        Ok(())
    }

    /// What every program has said lately, for whoever reads of a failure.
    pub(crate) fn logs(&mut self) -> String {
        let last = |log: Result<String>| {
            let log = log.unwrap_or_else(|error| error.to_string());
            log.lines()
                .skip(log.lines().count().saturating_sub(LINES))
                .map(|line| format!("{line}\n"))
                .collect()
        };
        let mut logs = vec![("klserver", last(self.fleet.server().log()))];
        logs.extend(self.devices.iter().map(|place| (place.device.name(), last(place.device.log()))));
        logs.extend(self.tunnels.iter_mut().map(|way| ("klsctunnel", last(way.tunnel.process().output()))));
        logs.iter().map(|(name, log): &(_, String)| format!("--- {name}\n{log}")).collect()
    }

    pub(crate) fn parley_of(&self, way: usize) -> Result<&Parley> {
        let to = self.tunnels.get(way).context("no such tunnel")?.to;
        Ok(&self.devices.get(to).context("no such device")?.parley)
    }

    fn ensure_open(&mut self, number: usize) -> Result<()> {
        let way = self.tunnels.get_mut(number).context("no such tunnel")?;
        if way.tunnel.process().is_running()? {
            return Ok(());
        }
        let (to, keeps_ready) = (way.to, way.keeps_ready);
        let again = self.way(to, keeps_ready)?;
        self.tunnels[number] = again;
        Ok(())
    }

    fn way(&self, to: usize, keeps_ready: bool) -> Result<Way> {
        let place = self.devices.get(to).context("no such device")?;
        let target = format!("{}:{}", place.device.name(), place.parley.port());
        let tunnel = if keeps_ready { self.anna.tunnel(&target)? } else { self.anna.bare_tunnel(&target)? };
        Ok(Way { tunnel, to, keeps_ready })
    }
}

/// As many of the last lines of a log are shown.
const LINES: usize = 30;
