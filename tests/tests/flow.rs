//! Programs that ask much of a connection: bulk, requests in turns, many streams at once, files over a lossy line.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use klnet_tests::fleet::service::{Echo, Iperf3, Nghttpd, Rsyncd};
use klnet_tests::fleet::{Device, Fleet, Held, Operator, PATIENCE, Said};
use klnet_tests::lab::Lab;
use klnet_tests::sim::Rng;
use klnet_tests::{need_programs, scale};
use tempfile::TempDir;

#[test]
fn iperf3_measures_both_directions() -> Result<()> {
    let Some(Site { fleet, device, anna }) = site("iperf3", &["iperf3"])? else { return Ok(()) };
    let iperf3 = Iperf3::start(device.host(), 5201)?;
    let held = Held::by(&fleet, &[&device])?;
    let tunnel = anna.bare_tunnel(&format!("web-7:{}", iperf3.port()))?;
    for direction in [&["-P", "1"][..], &["-P", "4"], &["-P", "1", "-R"], &["-P", "4", "-R"]] {
        let (port, seconds) = (tunnel.port().to_string(), scale("1", "10"));
        let mut measure = anna.host().command("iperf3");
        measure.args(["-J", "-c", "127.0.0.1", "-p", &port, "-t", seconds]).args(direction);
        let told = Said::within(PATIENCE * 2, &mut measure, b"")?.json()?;
        ensure!(told["error"].is_null(), "{direction:?}: {}", told["error"]);
        let end = &told["end"];
        let bytes = |side: &str| end[side]["bytes"].as_u64().with_context(|| format!("{side} in {end}"));
        let (sent, received) = (bytes("sum_sent")?, bytes("sum_received")?);
        println!("iperf3 {direction:?}: {} MB sent, {} MB received", sent >> 20, received >> 20);
        ensure!(received > 1 << 20, "{direction:?}: only {received} of {sent} bytes arrived");
    }
    drop(tunnel);
    held.settle(&fleet)
}

/// What netperf's `TCP_RR` does: one small request after the other, each answered before the next.
#[test]
fn requests_in_turns_are_all_answered() -> Result<()> {
    let Some(Site { fleet: _fleet, device, anna }) = site("turns", &[])? else { return Ok(()) };
    let echo = Echo::start(device.host())?;
    let tunnel = anna.tunnel(&format!("web-7:{}", echo.port()))?;
    let mut stream = tunnel.connect()?;
    stream.set_nodelay(true)?;
    let mut took = Vec::new();
    for number in 0..scale(2000_u64, 50_000) {
        let (asked, mut answer) = ([number.to_be_bytes(); 8].concat(), [0; 64]);
        let begun = Instant::now();
        stream.write_all(&asked)?;
        stream.read_exact(&mut answer)?;
        took.push(begun.elapsed());
        ensure!(asked == answer, "request {number} has another's answer");
    }
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!("{} requests of 64 bytes: p50 {:.0?}, p99 {:.0?}", took.len(), at(50), at(99));
    // A reply that waits for a timer (Nagle, delayed acknowledgements) takes 40 ms and more.
    ensure!(at(50) < Duration::from_millis(20), "{:?}", at(50));
    Ok(())
}

#[test]
fn http2_load_of_many_streams_succeeds_whole() -> Result<()> {
    let Some(Site { fleet, device, anna }) = site("http2", &["h2load", "nghttpd"])? else { return Ok(()) };
    let files = [("small", noise(1, 200)), ("large", noise(2, 1 << 20))];
    let web = Nghttpd::start(device.host(), 8080, &files)?;
    let held = Held::by(&fleet, &[&device])?;
    let tunnel = anna.bare_tunnel(&format!("web-7:{}", web.port()))?;
    for (file, bytes) in &files {
        let requests = if *file == "small" { scale(2000, 20_000) } else { scale(40, 1000) };
        let url = format!("http://127.0.0.1:{}/{file}", tunnel.port());
        let mut load = anna.host().command("h2load");
        load.args(["-n", &requests.to_string(), "-c", "8", "-m", "20", &url]);
        let told = Said::within(scale(PATIENCE, PATIENCE * 10), &mut load, b"")?;
        let told = told.ok()?;
        let all = format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout");
        ensure!(told.contains(&all), "not {all}: {told}");
        println!("h2load: {requests} of {} bytes each over 8 connections", bytes.len());
    }
    drop(tunnel);
    held.settle(&fleet)
}

#[test]
fn rsync_brings_a_file_there_and_back_at_0_1_and_5_percent_loss() -> Result<()> {
    let Some(Site { fleet: _fleet, device, anna }) = site("lossy", &["rsync", "nft"])? else {
        return Ok(());
    };
    let rsyncd = Rsyncd::start(device.host(), 873)?;
    let tunnel = anna.tunnel(&format!("web-7:{}", rsyncd.port()))?;
    let folder = TempDir::new()?;
    let (here, back) = (folder.path().join("here"), folder.path().join("back"));
    let megabytes = scale(8, 1024);
    for permille in [0, 10, 50] {
        plant(&here, permille.into(), megabytes)?;
        // What arrives is lost at both ends, so the bytes themselves are, in either direction.
        let losses = [device.host(), anna.host()].map(|host| host.loss(permille));
        let name = format!("at-{permille}");
        let far = format!("rsync://127.0.0.1:{}/files/{name}", tunnel.port());
        let begun = Instant::now();
        rsync(&anna, &here.display().to_string(), &far)?;
        ensure!(same(&here, &rsyncd.path(&name))?, "{permille} permille: it arrived as another file");
        rsync(&anna, &far, &back.display().to_string())?;
        ensure!(same(&here, &back)?, "{permille} permille: another file came back");
        let mut lost = 0;
        for loss in losses {
            lost += loss?.lost()?;
        }
        let took = begun.elapsed();
        println!(
            "rsync: {megabytes} MB there and back in {took:.1?}, {lost} packets lost ({permille} permille)"
        );
        ensure!((lost > 0) == (permille > 0), "{lost} packets lost at {permille} permille");
        fs::remove_file(&back)?;
        fs::remove_file(rsyncd.path(&name))?;
    }
    Ok(())
}

/// A server, a device `web-7` and an operator `anna` with the role tunnel.
struct Site {
    fleet: Fleet,
    device: Device,
    anna: Operator,
}

fn site(name: &str, programs: &[&str]) -> Result<Option<Site>> {
    let Some(lab) = Lab::or_skip(name).filter(|_| need_programs(programs)) else { return Ok(None) };
    let fleet = Fleet::new(&lab)?;
    let (device, anna) = (fleet.device("web-7")?, fleet.operator("anna", &["tunnel"])?);
    Ok(Some(Site { fleet, device, anna }))
}

fn rsync(operator: &Operator, from: &str, to: &str) -> Result<()> {
    let mut rsync = operator.host().command("rsync");
    // Whole, since there is nothing to compare with; its own checksum of the file is made all the same.
    let rsync = rsync.args(["--whole-file", from, to]);
    Said::within(scale(PATIENCE * 2, PATIENCE * 20), rsync, b"")?.ok().map(drop)
}

/// Writes a file of noise, a megabyte at a time.
fn plant(path: &Path, seed: u64, megabytes: u64) -> Result<()> {
    let mut file = File::create(path)?;
    for number in 0..megabytes {
        file.write_all(&noise(seed << 32 | number, 1 << 20))?;
    }
    Ok(())
}

/// Whether two files have the same bytes.
fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let length = one.read(&mut left)?;
        if length == 0 {
            return Ok(true);
        }
        other.read_exact(&mut right[..length])?;
        if left[..length] != right[..length] {
            return Ok(false);
        }
    }
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    Rng::new(seed).fill(&mut buffer);
    buffer
}
