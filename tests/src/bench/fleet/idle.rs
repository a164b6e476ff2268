//! What a connected device costs a server that has nothing to tell it.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use klnet_server::fabric::Fabric;
use tokio::sync::mpsc;

use super::crowd::Crowd;
use super::effort::Effort;
use super::mosquitto;
use crate::bench::place::Place;
use crate::bench::server::Server;
use crate::bench::{Better, Options, Row, Samples, Subject, compare_each};
use crate::lab::{Host, Lab, cpu_time};

pub(super) fn sessions(options: &Options, lab: &Lab) -> Result<Vec<Row>> {
    let (count, host) = (Effort::of(options).idle, lab.host("idle")?);
    let what = format!("{count} idle agents, resident memory of each (aim <= 10)");
    let subject = Subject { what: &what, unit: "KiB", better: Better::Lower };
    let (ours, peer) = (|| ours(&host, count), || mosquitto(&host, count));
    compare_each(options, [subject], ("klserver", ours), ("mosquitto", peer))
}

fn ours(host: &Host, count: usize) -> Result<Samples<1>> {
    let mut crowd = None;
    let server = Server::start_with(&Place::anywhere(host), Ipv4Addr::LOCALHOST, "", |state| {
        crowd = Some(Crowd::register(state, WARM_UP + count)?);
        Ok(())
    })?;
    let (crowd, process) = (crowd.context("a crowd")?, server.process.id());
    let (ended, mut ends) = mpsc::unbounded_channel();
    let sample = grown(host, process, async |part| {
        let devices = if part { &crowd.devices[WARM_UP..] } else { &crowd.devices[..WARM_UP] };
        crowd.connect(devices, server.agents(), &ended).await
    })?;
    anyhow::ensure!(ends.try_recv().is_err(), "a session did not live through the measurement");
    Ok(Samples { figures: [sample.figures[0] / count as f64], cpu: sample.cpu })
}

fn mosquitto(host: &Host, count: usize) -> Result<Samples<1>> {
    let folder = tempfile::Builder::new().prefix("klnet-mosquitto-").tempdir()?;
    let fabric = Fabric::init(folder.path(), std::time::SystemTime::now())?;
    let broker = mosquitto::Broker::start(host, &fabric, folder.path())?;
    let identities = broker.identities(&fabric, WARM_UP + count)?;
    let mut sessions = Vec::new();
    let sample = grown(host, broker.process(), async |part| {
        let devices = if part { &identities[WARM_UP..] } else { &identities[..WARM_UP] };
        sessions.extend(broker.connect(devices).await?);
        Ok(())
    })?;
    Ok(Samples { figures: [sample.figures[0] / count as f64], cpu: sample.cpu })
}

/// What a process grows by in KiB while the sessions come, those of the warm-up (`false`) left out.
fn grown(
    host: &Host,
    process: u32,
    mut connect: impl AsyncFnMut(bool) -> Result<()> + Send,
) -> Result<Samples<1>> {
    host.inside(|| {
        // It lives until everything is measured: the sessions' tasks run on it.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(connect(false))?;
        let (memory, cpu) = (memory(process)?, cpu_time(process)?);
        runtime.block_on(connect(true))?;
        let (grown, cpu) = (self::memory(process)? - memory, cpu_time(process)?.saturating_sub(cpu));
        Ok(Samples { figures: [grown], cpu })
    })?
}

/// Resident memory in KiB, counted page by page (proc_pid_smaps(5)).
fn memory(process: u32) -> Result<f64> {
    let summary = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = summary.lines().find_map(|line| line.strip_prefix("Rss:")).context("a process has memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Sessions before the count begins.
const WARM_UP: usize = 100;
