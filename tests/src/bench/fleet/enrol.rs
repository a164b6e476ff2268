//! How many devices enrol in a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use data_encoding::BASE64URL_NOPAD;
use klnet_agent::enroll::PATH;
use klnet_wire::identity::authority::request;
use klnet_wire::identity::enroll::EnrollRequest;
use klnet_wire::net::https::Client;
use klnet_wire::signing::SigningKey;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::effort::Effort;
use crate::bench::percentile::percentile;
use crate::bench::place::Place;
use crate::bench::server::{Server, block_on};
use crate::bench::{Better, Options, Row, Samples, Subject, measure_each};
use crate::lab::{Host, Lab, Switch, cpu_time};

pub(super) fn rate(options: &Options, lab: &Lab) -> Result<Vec<Row>> {
    let (count, internet) = (Effort::of(options).enrolments, lab.switch("internet")?);
    let machine = internet.host("server")?;
    let sites = sites(&internet, count)?;
    let whats = [
        format!("{count} devices enrol: rate (aim >= 500)"),
        format!("{count} devices enrol, {AT_ONCE} at a time: 99 % within"),
    ];
    let subjects = [
        Subject { what: &whats[0], unit: "devices/s", better: Better::Higher },
        Subject { what: &whats[1], unit: "ms", better: Better::Lower },
    ];
    measure_each(options, subjects, ("klserver", || enrolled(&machine, &sites, count)))
}

/// Machines with different addresses: a server takes so many enrolments from one address and no more.
fn sites(internet: &Switch, count: usize) -> Result<Vec<Host>> {
    (0..count.div_ceil(OF_SITE)).map(|site| internet.host(&format!("site-{site}"))).collect()
}

fn enrolled(machine: &Host, sites: &[Host], count: usize) -> Result<Samples<2>> {
    let server = Server::start(&Place::anywhere(machine), machine.address(), "")?;
    let token = server.token(count)?;
    let requests = (0..count).map(|number| asked(&token, number)).collect::<Result<Vec<_>>>()?;
    let (before, begun) = (cpu_time(server.process.id())?, Instant::now());
    let mut took = std::thread::scope(|threads| {
        let crowds = sites.iter().zip(requests.chunks(OF_SITE));
        let threads: Vec<_> = crowds
            .map(|(site, requests)| {
                threads.spawn(|| site.inside(|| block_on(all(&server, requests, sites.len()))))
            })
            .collect();
        let mut took = Vec::new();
        for thread in threads {
            took.extend(thread.join().expect("a thread that measures does not panic")??);
        }
        anyhow::Ok(took)
    })?;
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    let cpu = cpu_time(server.process.id())?.saturating_sub(before);
    Ok(Samples { figures: [rate, percentile(&mut took, 99).as_secs_f64() * 1e3], cpu })
}

/// Sends the requests of a site, each on a connection of its own as an agent does.
async fn all(server: &Server, requests: &[EnrollRequest], sites: usize) -> Result<Vec<Duration>> {
    let client = Arc::new(Client::pinned(&server.url(), server.profile.trust.pin())?);
    let (seats, mut asking) = (Arc::new(Semaphore::new((AT_ONCE / sites).max(1))), JoinSet::new());
    for request in requests {
        let request = request.clone();
        let (client, seat) = (Arc::clone(&client), Arc::clone(&seats).acquire_owned().await?);
        asking.spawn(async move {
            let begun = Instant::now();
            let _: Value = client.post(PATH, &request).await?;
            drop(seat);
            anyhow::Ok(begun.elapsed())
        });
    }
    let mut took = Vec::new();
    while let Some(answer) = asking.join_next().await {
        took.push(answer.context("a task that asks")??);
    }
    Ok(took)
}

fn asked(token: &str, number: usize) -> Result<EnrollRequest> {
    let request = BASE64URL_NOPAD.encode(&request(&SigningKey::generate_p256())?);
    let (host_name, os) = (format!("desktop-{number:07}"), "Debian GNU/Linux 12".to_owned());
    Ok(EnrollRequest { token: token.to_owned(), request, host_name, os })
}

/// As many as may enrol from one address at once.
const OF_SITE: usize = 100;
/// Requests under way.
const AT_ONCE: usize = 40;
