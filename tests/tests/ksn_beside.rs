//! A proxy and a reputation server beside the agents of a fleet, with the identity of those: real programs, and a real server
//! that tells who is revoked.

mod ksn;

use std::fs;

use anyhow::{Context, Result, ensure};
use klnet_tests::fleet::{Device, Said};
use klnet_tests::lab::wait_until;
use ksn::PATIENCE;
use ksn::held::{ALL, Held};
use ksn::site::{Site, id};

#[test]
fn a_device_that_is_revoked_loses_every_connection_and_its_ticket_and_comes_back_on_no_port() -> Result<()> {
    let Some(mut site) = Site::or_skip("revoked")? else { return Ok(()) };
    let (stolen, other, nas) = (site.device("web-1")?, site.device("web-2")?, id(&site.nas)?);
    site.start_server()?;
    site.start_proxy()?;
    for via in ["udp", "tls", "https"] {
        let said = site.ask(&stolen, &nas, via)?;
        ensure!(said.ok()?.contains("malicious"), "{via}: {said:?}");
    }
    let (mut of_stolen, mut of_other) = (Held::of(&stolen, &site)?, Held::of(&other, &site)?);
    ensure!(of_stolen.answered() == ALL && of_other.answered() == ALL, "both hold all there is");

    site.fleet.admin().klctl(&["revoke", "device", "web-1"])?.ok()?;
    let put_out = wait_until(PATIENCE, || {
        let others = of_other.answered();
        ensure!(others == ALL, "somebody else is put out: {others:?}");
        Ok(of_stolen.answered().is_empty().then_some(()))
    })?;
    ensure!(put_out.is_some(), "it is answered still on {:?}", of_stolen.answered());
    ensure!(of_other.answered() == ALL, "somebody else is put out: {:?}", of_other.answered());
    for via in ["udp", "tls", "https"] {
        let refused = site.ask(&stolen, &nas, via)?;
        ensure!(refused.code != 0, "{via}: {refused:?}");
        ensure!(site.ask(&other, &nas, via)?.ok()?.contains("malicious"), "{via}: the other is let in");
    }
    Ok(())
}

#[test]
fn without_a_sound_list_of_revocations_nobody_is_let_in_and_it_says_why() -> Result<()> {
    let Some(mut site) = Site::or_skip("lists")? else { return Ok(()) };
    let (device, nas) = (site.device("web-1")?, id(&site.nas)?);
    site.start_server()?;
    site.nas.stop()?;
    let list = site.nas.state().join("crl.pem");
    fs::write(&list, "-----BEGIN X509 CRL-----\nnone\n")?;
    Said::by(&mut site.proxy_command()?)?.refused(2, "crl.pem is damaged: not revocation lists in PEM")?;

    fs::remove_file(&list)?;
    site.start_proxy()?;
    site.until_proxy_says("a revocation list is missing or too old: nobody is let in")?;
    for via in ["udp", "tls", "https"] {
        let refused = site.ask(&device, &nas, via)?;
        ensure!(refused.code != 0, "{via}: {refused:?}");
    }
    site.nas.start()?;
    until_answered(&site, &device, &nas)
}

#[test]
fn a_proxy_is_whoever_its_agent_enrols_as_and_keeps_what_it_knows() -> Result<()> {
    let Some(mut site) = Site::or_skip("enrolled")? else { return Ok(()) };
    let (device, before) = (site.device("web-1")?, id(&site.nas)?);
    site.start_server()?;
    site.start_proxy()?;
    until_answered(&site, &device, &before)?;
    site.kill_server()?;
    let forwarded = site.stats()?["forwarded"].clone();

    site.nas.stop()?;
    let line = site.fleet.admin().token(&[])?;
    site.nas.enroll(&format!("{line} --force"))?.ok()?;
    site.nas.start()?;
    let enrolled = wait_until(PATIENCE, || Ok(id(&site.nas).ok().filter(|id| *id != before)))?;
    until_answered(&site, &device, &enrolled.context("the agent has another identity")?)?;
    let refused = site.ask(&device, &before, "tls")?;
    ensure!(refused.code != 0, "it is not the device before any more: {refused:?}");
    let stats = site.stats()?;
    ensure!(stats["forwarded"] == forwarded && stats["records"] == 1, "it knows by itself: {stats}");
    Ok(())
}

/// Waits until the proxy is `proxy`, and lets the device in.
fn until_answered(site: &Site, device: &Device, proxy: &str) -> Result<()> {
    let answered = wait_until(PATIENCE, || {
        let said = site.ask(device, proxy, "tls")?;
        Ok((said.code == 0 && said.stdout.contains("malicious")).then_some(()))
    })?;
    answered.with_context(|| format!("{:?}", site.ask(device, proxy, "tls")))
}
