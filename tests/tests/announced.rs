//! `klpoll` beside real programs that announce themselves: avahi-daemon, and Samba's nmbd and smbd.

mod field;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use field::Field;
use klnet_tests::lab::{Process, wait_until};
use klnet_tests::peer::{Avahi, Samba};
use klnet_tests::{Unavailable, need_programs, skip};
use serde_json::Value;

#[test]
fn every_service_of_an_avahi_daemon_is_resolved() -> Result<()> {
    if !need_programs(&["avahi-daemon", "unshare"]) {
        return Ok(());
    }
    let Some(field) = Field::or_skip("avahi")? else { return Ok(()) };
    let _avahi = Avahi::announcing(&field.crowd, SERVICES, "use-ipv6=no")?;
    let from = field.poller.address().to_string();
    let polled = field.klpoll(&["zeroconf", "--from", &from, "--wait", "4", "--json"])?;
    ensure!(polled.code == Some(0), "{}", polled.err);
    let host = the_one(&polled.out, &field.router.to_string())?;
    let services = host["services"].as_array().context("a list")?;
    let ports: BTreeSet<_> = services.iter().filter_map(|service| service["port"].as_u64()).collect();
    ensure!(
        (8000..8000 + u64::from(SERVICES)).all(|port| ports.contains(&port)),
        "{} services",
        services.len()
    );
    ensure!(host["name"] == "printer-7.local", "{host}");
    ensure!(polled.took < Duration::from_secs(6), "it ends at its deadline: {:?}", polled.took);
    Ok(())
}

#[test]
fn a_host_that_speaks_ipv6_alone_is_found_by_what_it_announces() -> Result<()> {
    if !need_programs(&["avahi-daemon", "unshare"]) {
        return Ok(());
    }
    let Some(field) = Field::or_skip("avahi-v6")? else { return Ok(()) };
    field.crowd.ip("addr add fd00:88::7/64 dev eth0 nodad")?;
    // Who has no address in its prefix learns no card with it.
    field.poller.ip("addr add fd00:88::ff/64 dev eth0 nodad")?;
    let _avahi = Avahi::announcing(&field.crowd, SERVICES, "use-ipv4=no\nuse-ipv6=yes")?;
    let from = field.poller.address().to_string();
    let polled = field.klpoll(&["zeroconf", "--from", &from, "--wait", "4", "--json"])?;
    let host = the_one(&polled.out, "fd00:88::7")?;
    ensure!(host["name"] == "printer-7.local", "{host}");
    ensure!(host["services"].as_array().is_some_and(|all| all.len() >= SERVICES.into()), "{host}");
    ensure!(polled.out.lines().count() == 1, "one device is one host: {}", polled.out);
    Ok(())
}

#[test]
fn samba_is_known_by_its_names_without_a_password() -> Result<()> {
    if !need_programs(&["nmbd", "smbd"]) {
        return Ok(());
    }
    let Some(field) = Field::or_skip("samba")? else { return Ok(()) };
    let _samba = Samba::serving(&field.crowd)?;
    let range = format!("{}/32", field.router);
    let quick = || -> Result<Option<Value>> {
        let polled = field.klpoll(&["windows", &range, "--profile", "lan", "--json"])?;
        Ok(the_one(&polled.out, &field.router.to_string()).ok())
    };
    // nmbd answers once it has registered its names.
    let host = wait_until(Duration::from_secs(20), quick)?.context("nmbd does not answer")?;
    ensure!(says(&host, "netbios", "FILES-7") && says(&host, "domain", "OFFICE"), "{host}");
    let polled = field.klpoll(&["windows", &range, "--full", "--profile", "lan", "--json"])?;
    let host = the_one(&polled.out, &field.router.to_string())?;
    ensure!(says(&host, "netbios", "FILES-7"), "{host}");
    ensure!(host["sources"].to_string().contains("smb"), "{host}");
    let from = field.poller.address().to_string();
    let polled = field.klpoll(&["all", &range, "--from", &from, "--profile", "lan", "--json"])?;
    ensure!(polled.code == Some(0), "{}", polled.err);
    let host = the_one(&polled.out, &field.router.to_string())?;
    ensure!(says(&host, "netbios", "FILES-7") && host["macs"][0].is_string(), "everything about it: {host}");
    Ok(())
}

#[test]
fn a_host_that_answers_by_llmnr_alone_is_known_by_its_name() -> Result<()> {
    let Some(resolved) = resolved() else { return Ok(()) };
    let Some(field) = Field::or_skip("llmnr")? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let _responder = responder(&field, folder.path(), &resolved)?;
    let (range, router) = (format!("{}/32", field.router), field.router.to_string());
    field.poller.default_route(field.router)?;
    // It answers once nobody has objected to its name.
    let host = wait_until(Duration::from_secs(20), || {
        let polled = field.klpoll(&["windows", &range, "--full", "--profile", "lan", "--json"])?;
        let host = the_one(&polled.out, &router)?;
        // By IPv4 it says its address of IPv4 alone.
        Ok(says(&host, "local", "pc-llmnr").then_some(host))
    })?;
    let host = host.context("nobody says its name")?;
    ensure!(host["sources"].to_string().contains("llmnr"), "{host}");
    Ok(())
}

/// The line of the host with this address.
fn the_one(lines: &str, address: &str) -> Result<Value> {
    let hosts = lines.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
    let is_it =
        |host: &Value| host["addresses"].as_array().is_some_and(|all| all.iter().any(|a| a == address));
    hosts.into_iter().find(is_it).with_context(|| format!("{address} is not in: {lines}"))
}

fn says(host: &Value, kind: &str, name: &str) -> bool {
    let names = host["names"].as_array().into_iter().flatten();
    names.into_iter().any(|said| said["kind"] == kind && said["name"] == name)
}

/// Where systemd-resolved is, which `tests/run` unpacks where it is not installed.
fn resolved() -> Option<PathBuf> {
    let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/peers/bin/systemd-resolved");
    let found =
        ["/lib/systemd/systemd-resolved", unpacked].map(PathBuf::from).into_iter().find(|path| path.exists());
    if found.is_none() {
        skip(&Unavailable::Missing("systemd-resolved".to_owned()));
    }
    found.filter(|_| need_programs(&["unshare", "setpriv"]))
}

/// systemd-resolved on the crowd, which answers LLMNR as pc-llmnr. Started as root it would look for an account of its own.
fn responder(field: &Field, folder: &Path, resolved: &Path) -> Result<Process> {
    let settings = folder.join("resolved.conf");
    std::fs::write(&settings, "[Resolve]\nLLMNR=yes\nMulticastDNS=no\nDNSStubListener=no\n")?;
    let script = format!(
        "mount -t tmpfs none /run && mkdir -p /run/systemd/resolve /run/systemd/resolved.conf.d && \
         cp {} /run/systemd/resolved.conf.d/test.conf && chmod -R a+rwX /run/systemd && hostname pc-llmnr && \
         exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=+setpcap,+net_raw,+net_bind_service \
         --ambient-caps=+setpcap,+net_raw,+net_bind_service {}",
        settings.display(),
        resolved.display()
    );
    let mut command = field.crowd.command("unshare");
    command.args(["--mount", "--uts", "sh", "-c", &script]).env("SYSTEMD_LOG_TARGET", "console");
    let process = Process::spawn("systemd-resolved", &mut command)?;
    field.crowd.wait_for_listener(5355, Duration::from_secs(20))?;
    // It says what it may not do, and does without.
    Ok(process.tolerating_errors())
}

const SERVICES: u16 = 100;
