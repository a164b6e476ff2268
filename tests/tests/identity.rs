//! Keys and certificates of a running fabric are replaced, and nobody is lost: real processes on the loopback.

mod stage;

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use data_encoding::{BASE64, HEXLOWER};
use klnet_tests::program;
use klnet_wire::identity::enroll::print_pin;
use klnet_wire::identity::pem::{chain_from_pem, key_from_pem};
use klnet_wire::identity::profile::Profile;
use klnet_wire::net::https::Client;
use klnet_wire::signing::SigningKey;
use serde_json::Value;
use stage::{Device, PATIENCE, Redeemed, Stage, Target, Upgradable, echoes, eventually, redeem, succeeded};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

#[tokio::test(flavor = "multi_thread")]
async fn every_key_of_a_fabric_is_rotated_under_a_live_tunnel_and_sleepers_come_back() -> Result<()> {
    let mut server = Upgradable::set().await?;
    let (awake, target) = (server.stage.device("awake").await?, Target::start().await?);
    let mut asleep = server.stage.device("asleep").await?;
    asleep.stop()?;
    let mut tunnel = open(&server.stage, &awake, &target).await?;
    let first = roots(&server.stage)?;
    for round in 0..3 {
        rotate(&server.stage)?;
        server.upgrade().await?;
        klctl(&mut server.stage, &["renew"])?;
        server.stage.online(&awake).await.with_context(|| format!("round {round}"))?;
        echoes(&mut tunnel, b"through the rotation").await?;
        let mut fresh = open(&server.stage, &awake, &target).await?;
        echoes(&mut fresh, b"granted by the new keys").await?;
    }
    ensure!(roots(&server.stage)?[0] != first[0]);
    ensure!(server.stage.audit("fabric.rotate").await?.len() == 3);
    asleep.start()?;
    server.stage.online(&asleep).await?;
    let mut late = open(&server.stage, &asleep, &target).await?;
    echoes(&mut late, b"slept through all of it").await?;
    let again = server.stage.device("enrolled-later").await?;
    let mut later = open(&server.stage, &again, &target).await?;
    echoes(&mut later, b"pinned to the newest root").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_needs_the_root_key_and_changes_nothing_without_it() -> Result<()> {
    let stage = Stage::set().await?;
    let before = roots(&stage)?;
    let key = stage.path("server").join("root.key");
    std::fs::rename(&key, stage.path("safe.key"))?;
    let refused = rotation(&stage).output()?;
    ensure!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("root.key"));
    ensure!(roots(&stage)? == before);
    succeeded(rotation(&stage).arg("--root-key").arg(stage.path("safe.key")))?;
    ensure!(roots(&stage)?.len() == 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_agent_is_moved_to_another_server_and_stays_where_it_is_when_that_does_not_answer()
-> Result<()> {
    let (old, new) = (Stage::set().await?, Stage::set().await?);
    let mut device = old.device("web-7").await?;
    let nowhere = mover(&device, "https://127.0.0.1:1", &new, "t0ken").output()?;
    ensure!(nowhere.status.code() == Some(4), "{nowhere:?}");
    let refused = mover(&device, &new.url(), &new, "t0ken").output()?;
    ensure!(refused.status.code() == Some(3), "{refused:?}");
    ensure!(old.is_online("web-7").await, "nothing has changed");
    let said = succeeded(&mut mover(&device, &new.url(), &new, &new.token(1).await?))?;
    ensure!(said.starts_with("connected to"), "{said}");
    new.online(&device).await?;
    old.offline(&device).await?;
    device.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_device_is_shown_as_a_clone_and_gets_an_identity_of_its_own() -> Result<()> {
    let stage = Stage::set().await?;
    let device = stage.device("web-7").await?;
    let copy = device.copied(&stage, "web-7-copy")?;
    let told =
        eventually(PATIENCE, async || !stage.audit("device.clone").await.unwrap_or_default().is_empty());
    told.await.context("the clone is not told")?;
    let devices: Vec<Value> = stage.client.get("/api/v1/devices").await?;
    ensure!(
        devices.len() == 1 && devices[0]["online"] == true && devices[0]["clone"]["machine"] == "web-7",
        "{devices:#?}"
    );
    let mut dupfix = Command::new(program("klmover")?);
    dupfix.args(["--dupfix", "--name", "web-7-copy", "--state"]).arg(&copy.state);
    succeeded(dupfix.env("KLNET_TOKEN", stage.token(1).await?))?;
    stage.online(&copy).await?;
    ensure!(stage.is_online("web-7").await);
    Ok(())
}

#[tokio::test]
async fn a_clone_that_an_operator_approves_of_takes_an_identity_of_its_own_by_itself() -> Result<()> {
    let mut stage = Stage::set().await?;
    let device = stage.device("web-7").await?;
    let mut copy = device.copied(&stage, "web-7-copy")?;
    let clones = async || !stage.audit("device.clone").await.unwrap_or_default().is_empty();
    eventually(PATIENCE, clones).await.context("the clone is not told")?;
    let said = klctl(&mut stage, &["device", "approve-clone", "web-7", "127.0.0.1"])?;
    ensure!(said.contains("web-7 at 127.0.0.1"), "{said}");
    // It asks again in its own time, and at once when it is started anew.
    copy.stop()?;
    copy.start()?;
    let devices = async || -> Result<Vec<Value>> { Ok(stage.client.get("/api/v1/devices").await?) };
    let apart = async || {
        let devices = devices().await.unwrap_or_default();
        devices.len() == 2 && devices.iter().all(|device| device["online"] == true)
    };
    eventually(PATIENCE, apart).await.with_context(|| copy.log())?;
    ensure!(devices().await?.iter().all(|device| device["set_back"].is_null()));
    copy.stop()
}

#[tokio::test]
async fn a_disk_that_was_set_back_is_shown() -> Result<()> {
    let stage = Stage::set().await?;
    let mut device = stage.device("web-7").await?;
    let snapshot = stage.path("snapshot");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        succeeded(Command::new("cp").arg("-aT").arg(from).arg(to)).map(drop)
    };
    let set_back = async || -> Result<bool> {
        let devices: Vec<Value> = stage.client.get("/api/v1/devices").await?;
        Ok(devices[0]["set_back"].is_u64())
    };
    device.stop()?;
    copy(&device.state, &snapshot)?;
    for _ in 0..2 {
        device.start()?;
        stage.online(&device).await?;
        device.stop()?;
        stage.offline(&device).await?;
    }
    ensure!(!set_back().await?, "an agent that is started anew is in order");
    std::fs::remove_dir_all(&device.state)?;
    copy(&snapshot, &device.state)?;
    device.start()?;
    stage.online(&device).await?;
    ensure!(set_back().await?);
    ensure!(stage.audit("device.set-back").await?.len() == 1);
    device.stop()
}

#[tokio::test]
async fn a_removed_device_is_cut_and_never_comes_back() -> Result<()> {
    let mut stage = Stage::set().await?;
    let device = stage.device("web-7").await?;
    klctl(&mut stage, &["device", "remove", "web-7"])?;
    let banned = async || device.log().contains("was removed") || device.log().contains("revoked");
    eventually(PATIENCE, banned).await.with_context(|| device.log())?;
    let devices: Vec<Value> = stage.client.get("/api/v1/devices").await?;
    ensure!(devices.is_empty(), "{devices:#?}");
    Ok(())
}

/// Every private key and secret of a fabric, looked for in everything that is written anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn no_key_and_no_secret_is_ever_logged_or_stored_where_it_does_not_belong() -> Result<()> {
    let traced = |command: &mut Command| {
        command.env("KLNET_LOG", "trace");
        Ok(())
    };
    let mut stage = Stage::set_with(None, traced).await?;
    let token = stage.token(1).await?;
    let mut device = stage.enrolled_with("web-7", &token)?;
    device.start_with(traced)?;
    stage.online(&device).await?;
    let invited = klctl(&mut stage, &["operator", "add", "anna", "--role", "tunnel"])?;
    let invitation =
        invited.split_whitespace().find(|word| word.starts_with("kli1.")).context("an invitation")?;
    klctl(&mut stage, &["renew"])?;
    let mut canaries = vec![("token", token.into_bytes()), ("invitation", invitation.as_bytes().to_vec())];
    let server = stage.path("server");
    for (name, path) in [
        ("root", server.join("root.key")),
        ("authority", server.join("authority.key")),
        ("grant", server.join("grant.key")),
        ("directory", server.join("directory.key")),
        ("server", server.join("server.identity")),
        ("device", device.state.join("device.key")),
    ] {
        let text = std::fs::read_to_string(path)?;
        let key = text.split("-----BEGIN CERTIFICATE").next().and_then(key_from_pem).context(name)?;
        canaries.extend(forms(name, &key));
    }
    canaries.extend(forms("operator", &stage.profile.identity.key));
    let mut written = vec![("the agent's log", device.log().into_bytes())];
    device.stop()?;
    let log = stage.server_log();
    ensure!(log.contains("TRACE") || log.contains("DEBUG"), "the log is a full one");
    written.push(("the server's log", log.into_bytes()));
    written.push(("the audit log", serde_json::to_vec(&stage.audit("operator.add").await?)?));
    stage.stop_server()?;
    for file in ["state.db", "state.db-wal"] {
        written.push((file, std::fs::read(server.join(file)).unwrap_or_default()));
    }
    for (place, text) in &written {
        for (name, canary) in &canaries {
            let found = text.windows(canary.len()).any(|window| window == canary.as_slice());
            ensure!(!found, "the secret of {name} is in {place}");
        }
    }
    // The negative control: what is no secret is found by the same search.
    let id = stage.profile.name.as_bytes();
    ensure!(written.iter().any(|(_, text)| text.windows(id.len()).any(|window| window == id)));
    Ok(())
}

/// A private key as bytes, in hexadecimal and in base64, where its secret part is.
fn forms(name: &'static str, key: &SigningKey) -> [(&'static str, Vec<u8>); 3] {
    let pkcs8 = key.to_pkcs8().expect("it is in a file");
    // RFC 5958: the private key of both kinds lies in the middle, clear of what all keys begin with.
    let secret = &pkcs8[16..pkcs8.len().min(64)];
    let text = BASE64.encode(&pkcs8);
    let hex: Vec<u8> = HEXLOWER.encode(&secret[24..40.min(secret.len())]).into_bytes();
    [(name, secret[24..40.min(secret.len())].to_vec()), (name, hex), (name, text.as_bytes()[44..64].to_vec())]
}

fn mover(device: &Device, server: &str, stage: &Stage, token: &str) -> Command {
    let mut mover = Command::new(program("klmover").expect("the programs are built"));
    mover.args([
        "--server",
        server,
        "--root",
        &print_pin(&stage.profile.trust.pin()),
        "--name",
        &device.name,
    ]);
    mover.arg("--state").arg(&device.state).env("KLNET_TOKEN", token);
    mover
}

fn rotate(stage: &Stage) -> Result<()> {
    succeeded(&mut rotation(stage)).map(drop)
}

fn rotation(stage: &Stage) -> Command {
    let mut rotate = Command::new(program("klserver").expect("the programs are built"));
    rotate.arg("rotate-root").arg("--config").arg(stage.path("server.toml"));
    rotate
}

/// Every root the fabric has had, the newest first.
fn roots(stage: &Stage) -> Result<Vec<Vec<u8>>> {
    let text = std::fs::read_to_string(stage.path("server").join("root.pem"))?;
    let roots = chain_from_pem(&text).context("certificates")?;
    Ok(roots.iter().map(|root| root.to_vec()).collect())
}

/// Runs `klctl` as the stage's operator, whose profile it may replace.
fn klctl(stage: &mut Stage, line: &[&str]) -> Result<String> {
    let said =
        succeeded(Command::new(program("klctl")?).args(line).env("KLNET_PROFILE", stage.profile_path()))?;
    stage.profile = Profile::load(&stage.profile_path())?;
    stage.client = Client::new(&stage.profile)?;
    Ok(said)
}

async fn open(stage: &Stage, device: &Device, target: &Target) -> Result<Box<TlsStream<TcpStream>>> {
    let blob = stage.grant(device, target.port).await?;
    match redeem(&blob, &stage.profile.identity.key, 0).await {
        Redeemed::Ready(stream) => Ok(stream),
        other => bail!("no tunnel: {other:?}"),
    }
}
