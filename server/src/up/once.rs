//! `klserver up --once`: the whole way once, each step timed, and a report.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::links;
use super::place::Place;
use super::process::output;
use super::reputation::question;
use super::stage::{Stage, devices};

/// Goes the whole way in a temporary folder on free ports.
///
/// # Errors
/// The first step that failed; the report is printed in any case.
pub(super) async fn run(device: &str) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let place = Place::fresh(folder.path())?;
    links::make(&place.bin())?;
    let stage = step("init, serve, enrol, heartbeat", Stage::set(place, device)).await?;
    let done = rehearse(&stage).await;
    stage.strike().await;
    println!("{}", if done.is_ok() { "everything works" } else { "something does not work" });
    done
}

async fn rehearse(stage: &Stage) -> anyhow::Result<()> {
    let blob = step("grant", grant(stage)).await?;
    let (mut tunnel, port) = step("tunnel", open(stage, &blob)).await?;
    let mut stream = step("bytes both ways", exchange(port)).await?;
    step("a verdict of the KSN proxy", verdict(stage)).await?;
    step("revoke cuts the tunnel", revoke(stage, &mut stream)).await?;
    step("the device is refused", refused(stage)).await?;
    step("audit", audit(stage)).await?;
    // Ended by the revocation or not, it is done.
    let _ = tunnel.kill().await;
    Ok(())
}

/// `klctl tunnel grant`.
async fn grant(stage: &Stage) -> anyhow::Result<String> {
    let mut grant = stage.operator("klctl");
    let blob = output(grant.args(["tunnel", "grant", &stage.device, &stage.echo.port.to_string()])).await?;
    ensure!(blob.trim().starts_with("klt1."), "not a blob: {blob}");
    Ok(blob.trim().to_owned())
}

/// `klsctunnel -`, the blob on its standard input.
async fn open(stage: &Stage, blob: &str) -> anyhow::Result<(Child, u16)> {
    let mut command = stage.operator("klsctunnel");
    let mut child = command.args(["--json", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("klsctunnel takes no input")?;
    stdin.write_all(format!("{blob}\n").as_bytes()).await?;
    drop(stdin);
    let mut lines = BufReader::new(child.stdout.take().context("klsctunnel has no output")?).lines();
    let port = timeout(STEP_TIMEOUT, async {
        while let Some(line) = lines.next_line().await? {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            let local = event["local"].as_array().and_then(|local| local.first()).and_then(Value::as_str);
            if let (Some("listening"), Some(local)) = (event["event"].as_str(), local) {
                return Ok(local.parse::<std::net::SocketAddr>()?.port());
            }
        }
        bail!("klsctunnel ended before it listened")
    });
    let port = port.await.context("klsctunnel does not listen")??;
    // Its later events have nowhere else to go.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, port))
}

/// A mebibyte there and back.
async fn exchange(port: u16) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let sent: Vec<u8> = (0..1_u32 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let (mut reader, mut writer) = stream.into_split();
    let mut received = vec![0; sent.len()];
    let (wrote, read) = timeout(STEP_TIMEOUT, async {
        tokio::join!(writer.write_all(&sent), reader.read_exact(&mut received))
    })
    .await
    .context("the echo takes too long")?;
    wrote?;
    read?;
    ensure!(sent == received, "what came back is not what was sent");
    Ok(reader.reunite(writer)?)
}

/// `ksnproxy query`, until the proxy runs and has asked the reputation server.
async fn verdict(stage: &Stage) -> anyhow::Result<()> {
    let deadline = Instant::now() + STEP_TIMEOUT;
    loop {
        let mut ask = Command::new("sh");
        let said = output(ask.arg("-c").arg(question(&stage.place, &stage.device_id))).await;
        match said {
            Ok(said) if said.contains("malicious") => return Ok(()),
            said if Instant::now() >= deadline => bail!("the proxy says: {said:?}"),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// `klctl revoke device`, and the open connection must end within a second.
async fn revoke(stage: &Stage, stream: &mut TcpStream) -> anyhow::Result<()> {
    let mut revoke = stage.operator("klctl");
    output(revoke.args(["revoke", "device", &stage.device])).await?;
    match timeout(REVOKE_TIMEOUT, stream.read(&mut [0; 1])).await.context("the connection still stands")? {
        Ok(0) | Err(_) => Ok(()),
        Ok(_) => bail!("bytes still come"),
    }
}

/// The device is offline and no grant is given for it.
async fn refused(stage: &Stage) -> anyhow::Result<()> {
    let mut grant = stage.operator("klctl");
    let again = output(grant.args(["tunnel", "grant", &stage.device, &stage.echo.port.to_string()])).await;
    ensure!(again.is_err(), "a grant was given for a revoked device");
    let deadline = Instant::now() + STEP_TIMEOUT;
    while Instant::now() < deadline {
        if devices(&stage.client).await?.iter().all(|device| !device.online && device.revoked.is_some()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("the device is still online")
}

/// Everything that was done is in the audit log.
async fn audit(stage: &Stage) -> anyhow::Result<()> {
    let mut audit = stage.operator("klctl");
    let log = output(audit.args(["--json", "audit"])).await?;
    for action in ["device.enroll", "tunnel.grant", "device.revoke"] {
        ensure!(log.contains(action), "no {action} in the audit log");
    }
    Ok(())
}

/// Takes a step, and says how it went and how long it took.
async fn step<T>(name: &str, step: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let start = Instant::now();
    let done = timeout(STEP_TIMEOUT * 4, step).await.unwrap_or_else(|_| bail!("takes too long"));
    let took = start.elapsed().as_secs_f64() * 1000.0;
    match &done {
        Ok(_) => println!("ok      {name:<32} {took:>8.1} ms"),
        Err(error) => println!("FAILED  {name:<32} {took:>8.1} ms  {error:#}"),
    }
    done.with_context(|| name.to_owned())
}

const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// A second, and what starting a command takes.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(1);
