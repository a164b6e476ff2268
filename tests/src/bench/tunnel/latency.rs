//! How long a new connection takes until its first byte has come from the service.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Bench;
use super::klsctunnel::Readiness;
use super::product::{Forwarded, Product};
use super::rathole::Transport;
use super::site::Site;
use super::{klsctunnel, rathole};
use crate::bench::percentile::percentile;
use crate::bench::{Better, Report, Row, Samples, Subject, compare_each};
use crate::fleet::PATIENCE;

/// One product of ours against one of others, one connection at a time, or several at once.
struct Case<'a> {
    what: &'a str,
    /// For the median, and for the 99th percentile.
    aims: [&'a str; 2],
    at_once: usize,
}

/// Every pairing, on the loopback.
pub(super) fn first_bytes(bench: &Bench, site: &Site) -> Result<Report> {
    let warm = klsctunnel::start(site, Readiness::Warm)?;
    let (noise, plain) = (rathole::start(site, Transport::Noise)?, rathole::start(site, Transport::Plain)?);
    let one = |what, aims| Case { what, aims, at_once: 1 };
    let mut rows =
        one("connect + first byte, warm", ["aim <= 0.75", "no aim"]).compare(bench, site, &warm, &noise)?;
    rows.extend(
        one("connect + first byte, warm", ["no aim", "aim <= 1.0"]).compare(bench, site, &warm, &plain)?,
    );
    let burst = Case { what: "the last of 8 connections at once", aims: ["reported"; 2], at_once: 8 };
    rows.extend(burst.compare(bench, site, &warm, &noise)?);
    // A site has room for one server.
    drop(warm);
    let cold = klsctunnel::start(site, Readiness::Cold)?;
    let case = one("connect + first byte, handshake in line", ["aim <= 1.5", "no aim"]);
    rows.extend(case.compare(bench, site, &cold, &noise)?);
    let (pace, burst) = (PACE.as_millis(), PACE.as_millis() * 8);
    let pace = format!(
        "Latency: {} connections a sample come {pace} ms apart, bursts of 8 every {burst} ms, so that whoever keeps \
         channels ready can refill; the service speaks first.",
        bench.effort.connections
    );
    Ok(Report { rows, notes: vec![pace] })
}

impl Case<'_> {
    fn compare(&self, bench: &Bench, site: &Site, ours: &Forwarded, peer: &Forwarded) -> Result<Vec<Row>> {
        let whats = [
            format!("{}, p50 ({})", self.what, self.aims[0]),
            format!("{}, p99 ({})", self.what, self.aims[1]),
        ];
        let subject = |what| Subject { what, unit: "us", better: Better::Lower };
        compare_each(
            &bench.options,
            [subject(&whats[0]), subject(&whats[1])],
            (ours.name, || bench.quiet.run(|| self.measure(bench, site, ours))),
            (peer.name, || bench.quiet.run(|| self.measure(bench, site, peer))),
        )
    }

    fn measure(&self, bench: &Bench, site: &Site, product: &Forwarded) -> Result<Samples<2>> {
        let cpu = product.cpu()?;
        let (service, rounds) = (&product.service, bench.effort.connections / self.at_once);
        let port = product.port;
        let mut times = std::thread::scope(|scope| {
            let greeter = scope.spawn(|| greet(service, rounds * self.at_once));
            let times = site.operator.inside(|| self.connect(port, rounds))?;
            greeter.join().expect("the greeter does not panic")?;
            times
        })?;
        let figures = [50, 99].map(|percent| percentile(&mut times, percent).as_secs_f64() * 1e6);
        Ok(Samples { figures, cpu: product.cpu()?.saturating_sub(cpu) })
    }

    /// In every round the time until the last of those that came at once had its byte.
    fn connect(&self, port: SocketAddr, rounds: usize) -> Result<Vec<Duration>> {
        let begun = Instant::now();
        let rounds = 0..u32::try_from(rounds)?;
        let pace = PACE * u32::try_from(self.at_once)?;
        let times = rounds.map(|round| {
            std::thread::sleep((begun + pace * round).saturating_duration_since(Instant::now()));
            let all = (0..self.at_once).map(|_| move || first_byte(port));
            slowest(all.collect())
        });
        times.collect()
    }
}

/// Runs all of it at once.
fn slowest(all: Vec<impl FnOnce() -> Result<Duration> + Send>) -> Result<Duration> {
    if all.len() == 1 {
        return all.into_iter().map(|one| one()).next().context("there is one")?;
    }
    std::thread::scope(|scope| {
        let running: Vec<_> = all.into_iter().map(|one| scope.spawn(one)).collect();
        let times = running.into_iter().map(|one| one.join().expect("a connection does not panic"));
        times.collect::<Result<Vec<_>>>()?.into_iter().max().context("there are some")
    })
}

fn first_byte(port: SocketAddr) -> Result<Duration> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(port)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.read_exact(&mut [0]).context("no first byte")?;
    Ok(begun.elapsed())
}

/// A service that speaks first, as SSH and most databases do, and leaves closing to whoever connected.
fn greet(service: &TcpListener, connections: usize) -> Result<()> {
    for _ in 0..connections {
        let (mut stream, _) = service.accept().context("a connection did not come through")?;
        stream.write_all(b"!")?;
        // How it ends is of no interest.
        std::thread::spawn(move || drop(io::copy(&mut stream, &mut io::sink())));
    }
    Ok(())
}

/// Time between two connections.
const PACE: Duration = Duration::from_millis(30);
