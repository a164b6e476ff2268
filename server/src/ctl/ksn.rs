//! `klctl ksn`.

use std::time::{Duration, SystemTime};

use super::args::SetKsnArgs;
use super::console::{Console, named, short};
use super::devices;
use super::failure::Failure;
use super::text::{ago, printable, table};
use crate::api::types::{Ksn, KsnStanding, SetKsn};
use crate::unix::seconds;

pub(super) async fn list(console: &Console) -> Result<(), Failure> {
    let found: Vec<Ksn> = console.get("/ksn-proxies").await?;
    console.show(&found, |found| match found.is_empty() {
        true => "No device is a KSN proxy: klctl ksn set".to_owned(),
        false => shown(found),
    })
}

pub(super) async fn set(console: &Console, set: SetKsnArgs) -> Result<(), Failure> {
    let device = devices::find(console, &set.device).await?;
    let SetKsnArgs { upstreams, https, allow_plain, cache, .. } = set;
    let set = SetKsn { upstreams, https, allow_plain, cache_mib: cache.unwrap_or_default() };
    let ksn: Ksn = console.post(&format!("/devices/{}/ksn-proxy", device.id), &set).await?;
    console
        .show(&ksn, |ksn| printable(&format!("{} is a KSN proxy; klctl ksn shows how it stands", ksn.name)))
}

pub(super) async fn remove(console: &Console, device: &str) -> Result<(), Failure> {
    let found: Vec<Ksn> = console.get("/ksn-proxies").await?;
    let ksn = named(found, device, "KSN proxy", |ksn| (&ksn.device, &ksn.name))?;
    console.delete(&format!("/devices/{}/ksn-proxy", ksn.device)).await?;
    console.done(&format!("{} is no KSN proxy any more", ksn.name))
}

fn shown(found: &[Ksn]) -> String {
    let now = SystemTime::now();
    let row = |ksn: &Ksn| {
        let state = ksn.state.as_ref();
        let count =
            |of: fn(&KsnStanding) -> u64| state.map_or_else(|| "-".to_owned(), |state| of(state).to_string());
        let told = state.map_or_else(|| "-".to_owned(), |state| ago(state.at, now));
        [
            ksn.name.clone(),
            standing(ksn, now),
            count(|state| state.received),
            count(|state| state.served),
            count(|state| state.forwarded),
            count(|state| state.failed),
            count(|state| state.records),
            told,
            short(&ksn.device),
        ]
    };
    let head = ["NAME", "STATE", "ASKED", "FROM CACHE", "FORWARDED", "FAILED", "RECORDS", "TOLD", "ID"];
    table(head, found.iter().map(row))
}

/// Not available once it has told nothing for fifteen minutes.
fn standing(ksn: &Ksn, now: SystemTime) -> String {
    match &ksn.state {
        _ if !ksn.online => "offline".to_owned(),
        None => "not heard of yet".to_owned(),
        Some(state) if !state.error.is_empty() => printable(&state.error),
        Some(state) if seconds(now).saturating_sub(state.at) > SILENCE.as_secs() => {
            "not available".to_owned()
        }
        Some(state) => format!("TCP {}, UDP {}", state.tcp_port, state.udp_port),
    }
}

/// How long a proxy may be silent.
const SILENCE: Duration = Duration::from_secs(15 * 60);
