//! A managed device is the KSN proxy of its network while the server says so.

use anyhow::{Context, Result, ensure};
use klnet_tests::fleet::{Device, Fleet, PATIENCE, Said};
use klnet_tests::lab::{Lab, wait_until};
use klnet_tests::program;
use serde_json::Value;

#[test]
fn a_device_answers_its_network_while_it_is_a_ksn_proxy_and_the_server_shows_its_counters() -> Result<()> {
    let Some(lab) = Lab::or_skip("ksn") else { return Ok(()) };
    let fleet = Fleet::new(&lab)?;
    let proxy = fleet.device("nas")?;
    let managed = fleet.beside(&proxy, "web-1")?;
    let admin = fleet.admin();
    admin.klctl(&["ksn", "set", "nas", "--upstream", "nowhere"])?.refused(3, "HOST:PORT")?;
    admin.klctl(&["ksn", "set", "nas"])?.ok()?;
    proxy.host().wait_for_listener(13_111, PATIENCE)?;

    let stranger = ask(&managed, &proxy, None)?;
    ensure!(stranger.code != 0, "who shows no certificate is not answered: {stranger:?}");
    let answer = ask(&managed, &proxy, Some(&managed))?;
    ensure!(answer.stdout.contains("unavailable"), "there is no reputation server: {answer:?}");

    let shown = wait_until(PATIENCE, || {
        let shown = admin.ask(&["ksn"])?[0].clone();
        Ok((shown["state"]["received"].as_u64() >= Some(1)).then_some(shown))
    })?;
    let shown = shown.with_context(|| format!("{:?}", admin.ask(&["ksn"])))?;
    ensure!(shown["state"]["tcp_port"] == 13_111 && shown["state"]["error"] == "", "{shown}");

    admin.klctl(&["revoke", "device", "web-1"])?.ok()?;
    let refused =
        wait_until(PATIENCE, || Ok((ask(&managed, &proxy, Some(&managed))?.code != 0).then_some(())))?;
    ensure!(refused.is_some(), "who is revoked is answered still");
    admin.klctl(&["ksn", "remove", "nas"])?.ok()?;
    let gone = wait_until(PATIENCE, || {
        let sockets = proxy.host().run("ss", &["-Hltn", "sport", "=", ":13111"])?;
        Ok(sockets.trim().is_empty().then_some(()))
    })?;
    ensure!(gone.is_some(), "it listens still");
    ensure!(admin.ask(&["ksn"])? == Value::Array(Vec::new()));
    Ok(())
}

/// One question to the proxy, as this device or as nobody.
fn ask(device: &Device, proxy: &Device, identity: Option<&Device>) -> Result<Said> {
    let mut query = device.host().command(program("ksnproxy")?);
    query.args(["query", "--json", "--proxy", &proxy.host().address().to_string()]);
    if let Some(identity) = identity {
        query.arg("--identity").arg(identity.state()).args(["--device", &id(proxy)?]);
    }
    Said::by(query.arg("44d88612fea8a8f36de82e1278abb02f"))
}

fn id(device: &Device) -> Result<String> {
    let id = device.status()?["device"].as_str().map(str::to_owned);
    id.context("a device that runs has an id")
}
