//! `ksnproxy` and `ksnserver` on hosts of their own: every port asked, the upstream cut off, and whoever lies about who it is.

mod ksn;

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use klnet_ksnproxy::frame::{Header, Op};
use klnet_tests::lab::wait_until;
use klnet_tests::scale;
use klnet_tests::sim::Rng;
use ksn::datagram::{Peer, fuzzed, key, plain, sealed, ticket};
use ksn::{Lan, PATIENCE};

#[test]
fn a_device_asks_on_every_port_about_what_was_imported() -> Result<()> {
    let Some(mut lan) = Lan::or_skip("ports")? else { return Ok(()) };
    lan.serve("clamav", "test.hdb", HDB)?;
    lan.start_proxy("")?;
    for via in ["udp", "tls", "https"] {
        let answers = lan.ask(&["--via", via], &[BAD, NOBODY])?;
        ensure!(answers[0]["reputation"] == "malicious", "{via}: {answers:?}");
        ensure!(answers[1]["reputation"] == "unknown", "{via}: {answers:?}");
    }
    let stats = lan.stats()?;
    let counted = |name: &str| stats[name].as_u64().unwrap_or_default();
    ensure!(counted("records") == 2 && counted("received") == 6, "{stats}");
    ensure!(
        (counted("forwarded"), counted("succeeded"), counted("served_from_cache")) == (2, 2, 4),
        "{stats}"
    );
    ensure!(stats["devices"].as_object().is_some_and(|devices| devices.len() == 1), "{stats}");
    Ok(())
}

#[test]
fn an_upstream_that_is_cut_off_costs_only_what_nobody_asked_before() -> Result<()> {
    let Some(mut lan) = Lan::or_skip("cut")? else { return Ok(()) };
    lan.serve("clamav", "test.hdb", HDB)?;
    lan.start_proxy("[ttl]\nmalicious = \"5s\"\n")?;
    ensure!(lan.ask(&[], &[BAD])?[0]["reputation"] == "malicious");
    lan.proxy.partition(&lan.server)?;
    let stale = wait_until(PATIENCE, || {
        let answer = lan.ask(&[], &[BAD])?.remove(0);
        ensure!(answer["reputation"] == "malicious", "{answer}");
        Ok((answer["stale"] == true).then_some(()))
    })?;
    ensure!(stale.is_some(), "it never says that its knowledge is old");
    let answer = lan.ask(&[], &[NOBODY])?.remove(0);
    ensure!(answer["reputation"] == "unavailable" && answer["ttl"].as_u64() >= Some(1), "{answer}");
    lan.proxy.heal()?;
    lan.server.heal()?;
    let back = wait_until(PATIENCE, || {
        let answer = lan.ask(&[], &[BAD, NOBODY])?;
        Ok((answer[0]["stale"] == false && answer[1]["reputation"] == "unknown").then_some(()))
    })?;
    let last = lan.ask(&[], &[BAD, NOBODY])?;
    ensure!(back.is_some(), "the upstream is back, and nobody asks it: {last:?}\n{}", lan.log()?);
    Ok(())
}

#[test]
fn a_forged_source_is_sent_less_than_was_sent_in_its_name() -> Result<()> {
    let Some(mut lan) = Lan::or_skip("forged")? else { return Ok(()) };
    lan.start_proxy("allow_plain = true\n")?;
    let (victim, liar) = (lan.switch.host("victim")?, lan.switch.host("liar")?);
    let address = victim.address();
    // Or both would say that they have the address.
    liar.run("sysctl", &["-q", "-w", "net.ipv4.conf.all.arp_ignore=1"])?;
    liar.ip(&format!("addr add {address}/32 dev lo"))?;
    let at = SocketAddr::new(address.into(), 7777);
    let hit = Peer::new(&lan, &victim, at)?;
    let cookie_of_the_liar = Peer::new(&lan, &liar, SocketAddr::new(liar.address().into(), 0))?.cookie()?;
    let forger = Peer::new(&lan, &liar, at)?;
    let (mut sent, keys) = (0, [key(1); 8]);
    for serial in 0..100 {
        for token in [0, cookie_of_the_liar] {
            let query = plain(token, serial, &keys);
            sent += query.len();
            forger.send(&query)?;
        }
    }
    let cookie = hit.cookie()?;
    let mut received = 24;
    for (length, op) in std::iter::from_fn(|| hit.receive_now()) {
        ensure!(op == Op::Challenge, "{op:?} was sent to whom did not ask");
        received += length;
    }
    ensure!(received <= 201 * 24 && received * 8 < sent, "{received} bytes for {sent}");
    hit.send(&plain(cookie, 7, &keys))?;
    // Behind whatever is still under way of what others asked for.
    while hit.receive().context("who shows its cookie is answered")?.0.op == Op::Challenge {}
    Ok(())
}

#[test]
fn a_sealed_query_that_was_caught_opens_nothing() -> Result<()> {
    let Some(mut lan) = Lan::or_skip("replay")? else { return Ok(()) };
    lan.serve("clamav", "test.hdb", HDB)?;
    lan.start_proxy("")?;
    let ticket = ticket(&lan)?;
    let device = Peer::new(&lan, &lan.device, SocketAddr::new(lan.device.address().into(), 0))?;
    let liar = lan.switch.host("liar")?;
    let catcher = Peer::new(&lan, &liar, SocketAddr::new(liar.address().into(), 0))?;
    for counter in 1..=50 {
        let query = sealed(&ticket, counter, &[key(0xaa)]);
        device.send(&query)?;
        let (header, _) = device.receive()?;
        ensure!((header.op, header.sealed, header.serial) == (Op::Answer, true, counter), "{header:?}");
        catcher.send(&query)?;
        device.send(&query)?;
    }
    // What is answered goes behind what is not.
    catcher.cookie()?;
    device.send(&sealed(&ticket, 51, &[key(0xaa)]))?;
    ensure!(device.receive()?.0.serial == 51);
    ensure!(lan.stats()?["not_authentic"] == 100, "{}", lan.stats()?);
    Ok(())
}

#[test]
fn no_datagram_is_answered_with_more_bytes_than_it_had() -> Result<()> {
    let Some(mut lan) = Lan::or_skip("amplify")? else { return Ok(()) };
    lan.start_proxy("allow_plain = true\n[limits]\nkeys_per_second = 0\n")?;
    let ticket = ticket(&lan)?;
    let peer = Peer::new(&lan, &lan.device, SocketAddr::new(lan.device.address().into(), 0))?;
    let cookie = peer.cookie()?;
    let mut rng = Rng::new(23);
    let (mut sent, mut received, mut answers) = (0_u64, 0_u64, 0);
    for counter in 1..=scale(100_000, 10_000_000) {
        let datagram = fuzzed(&mut rng, cookie, &ticket, counter);
        peer.send(&datagram)?;
        sent += datagram.len() as u64;
        for length in peer.drain()? {
            answers += 1;
            received += length as u64;
        }
        ensure!(received <= sent, "{received} bytes for {sent} after {counter} datagrams");
    }
    ensure!(peer.cookie_or_late()?, "the proxy still answers");
    println!("counted: {answers} answers, {received} bytes for {sent}");
    ensure!(answers > 1000, "{answers} answers: nothing was tested");
    Ok(())
}

#[test]
fn a_query_without_identity_is_refused_and_a_fall_back_asks_the_server() -> Result<()> {
    let Some(mut lan) = Lan::or_skip("fallback")? else { return Ok(()) };
    lan.serve("clamav", "test.hdb", HDB)?;
    let server = lan.server.address().to_string();
    let answers = lan.ask(&["--via", "tls", "--fallback", &server], &[BAD])?;
    ensure!(answers[0]["reputation"] == "malicious", "there is no proxy at all: {answers:?}");
    lan.start_proxy("")?;
    ensure!(lan.ask(&["--via", "tcp"], &[BAD]).is_err(), "plain queries are refused");
    Ok(())
}

const HDB: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:68:Test.File\n";
const BAD: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:68";
const NOBODY: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb:68";

impl Peer {
    /// The length and op of a datagram that is there.
    fn receive_now(&self) -> Option<(usize, Op)> {
        self.socket.set_nonblocking(true).ok()?;
        let received = self.receive().ok().map(|(header, bytes): (Header, _)| (bytes.len(), header.op));
        self.socket.set_nonblocking(false).ok()?;
        received
    }

    /// Whether a cookie comes, behind whatever else is under way.
    fn cookie_or_late(&self) -> Result<bool> {
        self.send(&plain(0, 1, &[key(1)]))?;
        loop {
            if self.receive()?.0.op == Op::Challenge {
                return Ok(true);
            }
        }
    }
}
