//! Devices whose private key is in a token of SoftHSM: tunnels, moves and clones, with real processes on the loopback.

mod stage;
// The token itself is the one of the agent's own tests.
#[allow(clippy::unwrap_used, dead_code, reason = "a failed unwrap is a failed test")]
#[path = "../../agent/tests/softhsm/mod.rs"]
mod softhsm;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use klnet_tests::program;
use klnet_wire::identity::enroll::print_pin;
use softhsm::SoftHsm;
use stage::{Device, PATIENCE, Redeemed, Stage, Target, echoes, eventually, redeem, succeeded};

#[tokio::test(flavor = "multi_thread")]
async fn a_device_whose_key_is_in_a_token_serves_tunnels_and_signs_their_records() -> Result<()> {
    let Some(token) = SoftHsm::with_pin(PIN) else { return Ok(()) };
    let stage = Stage::set().await?;
    let device = keyed(&stage, "web-7", &token).await?;
    let target = Target::start().await?;
    for number in 0..8 {
        let blob = stage.grant(&device, target.port).await?;
        let Redeemed::Ready(mut stream) = redeem(&blob, &stage.profile.identity.key, 0).await else {
            bail!("no tunnel {number}")
        };
        echoes(&mut stream, b"the token has signed the inner handshake").await?;
    }
    // The server takes a record that the device's key has signed, and no other.
    let recorded = eventually(PATIENCE, async || {
        let closed = stage.audit("tunnel.closed").await.unwrap_or_default();
        closed.iter().filter(|entry| entry["actor"] == "agent").count() == 8
    });
    recorded.await.context("the device's records are not stored")?;
    ensure!(token.private_keys(PIN).matches("Private Key Object").count() == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_device_has_another_key_and_keeps_the_old_one_until_the_new_server_has_answered() -> Result<()>
{
    let Some(token) = SoftHsm::with_pin(PIN) else { return Ok(()) };
    let (old, new) = (Stage::set().await?, Stage::set().await?);
    let device = keyed(&old, "web-7", &token).await?;
    let key = std::fs::read_to_string(device.state.join("device.key"))?;
    for _ in 0..2 {
        let refused = mover(&device, &new, &token, "t0ken")?.output()?;
        ensure!(refused.status.code() == Some(3), "{refused:?}");
    }
    ensure!(old.is_online("web-7").await, "nothing has changed");
    ensure!(std::fs::read_to_string(device.state.join("device.key"))? == key);
    succeeded(&mut mover(&device, &new, &token, &new.token(1).await?)?)?;
    new.online(&device).await?;
    ensure!(std::fs::read_to_string(device.state.join("device.key"))? != key);
    // However often it was tried, there is one more.
    ensure!(
        token.private_keys(PIN).matches("Private Key Object").count() == 2,
        "{}",
        token.private_keys(PIN)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_with_the_same_token_gets_a_key_of_its_own() -> Result<()> {
    let Some(token) = SoftHsm::with_pin(PIN) else { return Ok(()) };
    let stage = Stage::set().await?;
    let mut device = keyed(&stage, "web-7", &token).await?;
    let key = device.state.join("device.key");
    let before = std::fs::read_to_string(&key)?;
    let mut dupfix = klmover(&device, &token)?;
    succeeded(dupfix.arg("--dupfix").env("KLNET_TOKEN", stage.token(1).await?))?;
    stage.online(&device).await?;
    ensure!(std::fs::read_to_string(&key)? != before);
    device.stop()
}

const PIN: &str = "canary-70415";

/// An enrolled device that runs, with its key in the token.
async fn keyed(stage: &Stage, name: &str, token: &SoftHsm) -> Result<Device> {
    let config = token.path("agent.toml");
    std::fs::write(&config, format!("device_key = {:?}\n[ports]\nneighbours = 0\n", token.uri()))?;
    let secret = stage.token(1).await?;
    let mut device = stage.enrolled_as(name, &secret, |enroll| with(enroll, &config, token))?;
    device.start_with(|run| with(run, &config, token))?;
    stage.online(&device).await?;
    Ok(device)
}

fn with(command: &mut Command, config: &Path, token: &SoftHsm) -> Result<()> {
    let (name, value) = token.variable();
    command.arg("--config").arg(config).env(name, value);
    Ok(())
}

fn klmover(device: &Device, token: &SoftHsm) -> Result<Command> {
    let mut mover = Command::new(program("klmover")?);
    mover.args(["--name", &device.name, "--state"]).arg(&device.state);
    with(&mut mover, &token.path("agent.toml"), token)?;
    Ok(mover)
}

fn mover(device: &Device, stage: &Stage, token: &SoftHsm, secret: &str) -> Result<Command> {
    let mut mover = klmover(device, token)?;
    mover.args(["--server", &stage.url(), "--root", &print_pin(&stage.profile.trust.pin())]);
    mover.env("KLNET_TOKEN", secret);
    Ok(mover)
}
