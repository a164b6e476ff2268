//! A server that comes back with many devices, none of them connected.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use klnet_server::fabric::Fabric;
use klnet_server::fleet::record::DeviceRecord;
use klnet_server::service::open_store;
use klnet_server::store::{Key, Op, OpId, Store};
use klnet_wire::id::DeviceId;
use prost::Message;
use tokio::task::JoinSet;

use super::effort::Effort;
use crate::bench::{Better, Options, Row, Samples, Subject, measure_each};
use crate::fleet::Said;
use crate::lab::{Host, Process, cpu_time};
use crate::program;

pub(super) fn restart(options: &Options, host: &Host) -> Result<Vec<Row>> {
    let effort = Effort::of(options);
    let folder = tempfile::Builder::new().prefix("klnet-bench-").tempdir()?;
    let state = folder.path().join("server");
    let mut init = Command::new(program("klserver")?);
    Said::by(init.arg("init").args(["--host", "localhost", "--state"]).arg(&state))?.ok()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(fill(&state, effort.devices))?;
    let what = |figure: &str| format!("restart with {} devices: {figure}", effort.devices);
    let (time, memory) = (what("time"), what("memory"));
    let subjects = [
        Subject { what: &time, unit: "s", better: Better::Lower },
        Subject { what: &memory, unit: "MiB", better: Better::Lower },
    ];
    measure_each(options, subjects, ("klserver", || start(host, &state)))
}

/// Starts the server and stops it again.
fn start(host: &Host, state: &Path) -> Result<Samples<2>> {
    let mut command = host.command(program("klserver")?);
    command.arg("run").args(["--host", "localhost", "--state"]).arg(state).env("NO_COLOR", "1");
    let begun = Instant::now();
    let mut process = Process::spawn("klserver", &mut command)?;
    process.wait_for_line("serving", LIMIT)?;
    let took = begun.elapsed().as_secs_f64();
    let (memory, cpu) = (resident(process.id())?, cpu_time(process.id())?);
    process.terminate(LIMIT)?;
    Ok(Samples { figures: [took, memory], cpu })
}

/// Registers devices as an enrolment does, and notes when each was last seen.
async fn fill(state: &Path, devices: u32) -> Result<()> {
    let (store, tenant) =
        (std::sync::Arc::new(open_store(state)?), Fabric::load(state)?.tenant().to_string());
    let mut commits = JoinSet::new();
    let of_commit = u32::try_from(store.limits().ops)? / 2;
    for first in (0..devices).step_by(usize::try_from(of_commit)?) {
        let mut ops = Vec::new();
        for n in first..devices.min(first + of_commit) {
            let id = DeviceId::random().to_string();
            let record = record(n).encode_to_vec();
            ops.push(Op::put(Key::join(&["t", &tenant, "device", &id])?, record));
            ops.push(Op::put(Key::join(&["t", &tenant, "seen", &id])?, 1_790_000_000_u64.encode_to_vec()));
        }
        if commits.len() >= AT_ONCE {
            commits.join_next().await.context("there are some")???;
        }
        let store = std::sync::Arc::clone(&store);
        commits.spawn(async move { anyhow::Ok(store.commit(OpId::random(), Vec::new(), ops).await?) });
    }
    while let Some(committed) = commits.join_next().await {
        committed??;
    }
    store.close().await;
    Ok(())
}

fn record(n: u32) -> DeviceRecord {
    DeviceRecord {
        name: format!("desktop-{n:07}"),
        os: "Debian GNU/Linux 12 (bookworm)".into(),
        group: vec![0; 16],
        key: vec![4; 65],
        enrolled: 1_790_000_000,
        serial: vec![5; 16],
        ..DeviceRecord::default()
    }
}

/// Memory of a process now, in MiB.
fn resident(process: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: u32 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(f64::from(kib) / 1024.0)
}

const LIMIT: Duration = Duration::from_secs(120);
/// Commits under way while the store is filled.
const AT_ONCE: usize = 64;
