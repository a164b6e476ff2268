//! Clocks that are wrong by an hour or by ten years, or run ten times as fast, on either side: each has one result, which
//! is told; nobody enrols again, and what a wrong clock kept apart is together once it is right.

mod stage;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use klnet_tests::fault::CLOCK_LIBRARIES;
use klnet_tests::program;
use serde_json::{Value, json};
use stage::{Device, PATIENCE, Stage, accelerate, eventually, has_shifted_clocks};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_clock_is_an_hour_off_is_connected_and_the_skew_is_told() -> Result<()> {
    if !has_shifted_clocks() {
        return Ok(());
    }
    let stage = Stage::set().await?;
    for (name, offset, hours) in [("behind", "-3600", -1), ("ahead", "+3600", 1)] {
        let clock = Clock::at(&stage, name, offset)?;
        let mut device = stage.enrolled(name).await?;
        device.start_with(|command| clock.of(command))?;
        stage.online(&device).await.with_context(|| name.to_owned())?;
        let told = known(&stage, name).await?["clock_skew"].as_i64().context("a skew is told")?;
        ensure!((told - hours * 3600).abs() < 60, "{name}: {told}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_clock_is_ten_years_off_says_so_and_comes_once_it_is_right() -> Result<()> {
    if !has_shifted_clocks() {
        return Ok(());
    }
    let stage = Stage::set().await?;
    for (name, offset, words, advice) in
        // Ten days are within a certificate's life, and beyond that of a revocation list.
        [
            ("behind", "-10y", "behind the server's", FAILS),
            ("ahead", "+10y", "ahead of the server's", FAILS),
            (
                "late",
                "+10d",
                "ahead of the server's",
                ["ahead of the server's", "set it, before certificates fail"],
            ),
        ]
    {
        let clock = Clock::at(&stage, name, offset)?;
        let mut device = stage.enrolled(name).await?;
        let before = known(&stage, name).await?["id"].clone();
        device.start_with(|command| clock.of(command))?;
        let said = eventually(PATIENCE, async || error_of(&device).contains("clock wrong")).await;
        said.with_context(|| error_of(&device))?;
        ensure!(error_of(&device).contains(words), "{name}: {}", error_of(&device));
        ensure!(!stage.is_online(name).await, "{name}");
        let checked = check(&device, &clock)?;
        ensure!(advice.iter().all(|advice| checked.contains(advice)), "{name}: {checked}");
        clock.set("+0")?;
        stage.online(&device).await.with_context(|| format!("{name}: {}", error_of(&device)))?;
        ensure!(known(&stage, name).await?["id"] == before, "{name}: it never enrols again");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_clock_is_wrong_loses_nobody() -> Result<()> {
    if !has_shifted_clocks() {
        return Ok(());
    }
    let mut stage = Stage::set().await?;
    let mut device = stage.device("web-7").await?;
    for (offset, connected) in [("-3600", true), ("+3600", true), ("-10y", false), ("+10y", false)] {
        stage.stop_server()?;
        let clock = Clock::at(&stage, "server", offset)?;
        let mut run = stage.run_server(&program("klserver")?);
        clock.of(&mut run)?;
        let server = klnet_tests::lab::Process::spawn("klserver", &mut run)?;
        match connected {
            true => {
                stage.serve(server).await.context(offset)?;
                stage.online(&device).await.with_context(|| format!("{offset}: {}", error_of(&device)))?;
            }
            false => {
                let said =
                    eventually(PATIENCE, async || error_of(&device).contains("the server's certificate"))
                        .await;
                said.with_context(|| format!("{offset}: {}", error_of(&device)))?;
                drop(server);
            }
        }
        if connected {
            stage.stop_server()?;
        }
        stage.start_server().await.context(offset)?;
        stage.online(&device).await.with_context(|| format!("after {offset}: {}", error_of(&device)))?;
    }
    device.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_ten_times_as_fast_change_nothing() -> Result<()> {
    if !has_shifted_clocks() {
        return Ok(());
    }
    for fast in ["klserver", "klnagent"] {
        let accelerated = |name: &'static str| {
            move |command: &mut Command| if name == fast { accelerate(command, 10) } else { Ok(()) }
        };
        let stage = Stage::set_with(None, accelerated("klserver")).await?;
        stage.device_with("web-7", accelerated("klnagent")).await.with_context(|| fast.to_owned())?;
    }
    Ok(())
}

/// What a checkup says of a clock by which a certificate fails.
const FAILS: [&str; 2] = ["clock wrong", "timedatectl"];

/// A wall clock that can be set while its process runs.
struct Clock {
    file: PathBuf,
}

impl Clock {
    fn at(stage: &Stage, name: &str, offset: &str) -> Result<Self> {
        let clock = Self { file: stage.path(&format!("{name}.clock")) };
        clock.set(offset)?;
        Ok(clock)
    }

    fn set(&self, offset: &str) -> Result<()> {
        Ok(std::fs::write(&self.file, offset)?)
    }

    fn of(&self, command: &mut Command) -> Result<()> {
        let library =
            CLOCK_LIBRARIES.iter().find(|path| Path::new(path).exists()).context("no libfaketime")?;
        command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Ok(())
    }
}

async fn known(stage: &Stage, name: &str) -> Result<Value> {
    let devices: Vec<Value> = stage.client.get(&format!("/api/v1/devices?name={name}")).await?;
    devices.into_iter().next().context("the device is known")
}

/// Why the agent has no connection, as its status says.
fn error_of(device: &Device) -> String {
    let status = std::fs::read(device.state.join("status.json")).unwrap_or_default();
    let status: Value = serde_json::from_slice(&status).unwrap_or(json!({}));
    status["last_error"]["text"].as_str().unwrap_or_default().to_owned()
}

fn check(device: &Device, clock: &Clock) -> Result<String> {
    let mut check = Command::new(program("klnagchk")?);
    clock.of(check.arg("--state").arg(&device.state))?;
    Ok(String::from_utf8(check.output()?.stdout)?)
}
