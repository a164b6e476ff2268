//! How soon a revoked device is cut.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::crowd::{Crowd, Ended};
use super::effort::Effort;
use crate::bench::percentile::percentile;
use crate::bench::place::Place;
use crate::bench::server::{Server, block_on};
use crate::bench::{Better, Options, Row, Samples, Subject, measure_each};
use crate::lab::{Host, Lab, cpu_time};

pub(super) fn cuts(options: &Options, lab: &Lab) -> Result<Vec<Row>> {
    let (effort, host) = (Effort::of(options), lab.host("revoke")?);
    let what = |percent: u32| {
        format!(
            "{} live agents: {percent} % of the revoked are cut within (aim, 99 %: <= 1000)",
            effort.connected
        )
    };
    let (half, most) = (what(50), what(99));
    let subject = |what| Subject { what, unit: "ms", better: Better::Lower };
    let measured = || cut(&host, &effort);
    measure_each(options, [subject(half.as_str()), subject(most.as_str())], ("klserver", measured))
}

fn cut(host: &Host, effort: &Effort) -> Result<Samples<2>> {
    let mut crowd = None;
    let server = Server::start_with(&Place::anywhere(host), Ipv4Addr::LOCALHOST, "", |state| {
        crowd = Some(Crowd::register(state, effort.connected)?);
        Ok(())
    })?;
    let (crowd, process) = (crowd.context("a crowd")?, server.process.id());
    let before = cpu_time(process)?;
    let mut took = host.inside(|| block_on(revoked(&server, &crowd, effort.revocations)))??;
    let cpu = cpu_time(process)?.saturating_sub(before);
    let mut of = |percent| percentile(&mut took, percent).as_secs_f64() * 1e3;
    Ok(Samples { figures: [of(50), of(99)], cpu })
}

/// Connects all, then revokes some, one after the other.
async fn revoked(server: &Server, crowd: &Crowd, count: usize) -> Result<Vec<Duration>> {
    let (ended, mut ends) = mpsc::unbounded_channel::<Ended>();
    crowd.connect(&crowd.devices, server.agents(), &ended).await?;
    let (mut begun, mut took) = (HashMap::new(), Vec::new());
    for (device, _) in &crowd.devices[..count] {
        begun.insert(*device, Instant::now());
        let path = format!("/api/v1/devices/{device}/revoke");
        let _: Value = server.client.post(&path, &json!({ "reason": "measured" })).await?;
        let (of, at) = ends.recv().await.context("its session ends")?;
        let begun = begun.remove(&of).context("only who is revoked is cut")?;
        took.push(at.duration_since(begun));
    }
    Ok(took)
}
