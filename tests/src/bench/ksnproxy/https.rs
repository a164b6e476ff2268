//! What is known already, over HTTPS: K10 and K11; and what it costs to begin: K12.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use klnet_wire::identity::Role;
use klnet_wire::identity::tls::unverified_config;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::Bench;
use super::keys::digest;
use super::nginx::{self, Nginx};
use super::ours::{self, Ours};
use super::rig::Rig;
use crate::bench::{Better, Report, Sample, Samples, Subject, compare, compare_each};
use crate::fleet::PATIENCE;
use crate::lab::cpu_time;

/// Who is asked, and for what.
struct Asked {
    server: SocketAddr,
    process: u32,
    /// A file of the addresses of all keys.
    uris: PathBuf,
}

/// What asks: connections, requests of each at once, and what h2load is told besides.
#[derive(Clone, Copy)]
struct Load(u32, u32, &'static [&'static str]);

pub(super) fn hits(bench: &Bench) -> Result<Report> {
    let rig = Rig::new()?;
    let ours = Ours::start_warm(&rig, KEYS)?;
    let nginx = Nginx::start(&rig, &ours.fabric.issue(Role::Server, rig.address())?)?;
    let peer = Asked::new(&rig, "nginx.uris", nginx::TLS, nginx.process.id())?;
    let ours = (Asked::new(&rig, "ours.uris", ours::HTTPS, ours.process.id())?, ours);
    let once = format!("--requests={KEYS}");
    peer.h2load(&rig, Load(1, 1, &[]), &once).context("nginx asks for everything once")?;
    let mut rows = Vec::new();
    for (what, load) in LOADS {
        let whats = [format!("{what}: answers (aim >= 1.2)"), format!("{what}: server CPU for each")];
        let subjects = [
            Subject { what: &whats[0], unit: "answers/s", better: Better::Higher },
            Subject { what: &whats[1], unit: "ns", better: Better::Lower },
        ];
        rows.extend(compare_each(
            &bench.options,
            subjects,
            ("ksnproxy", || ours.0.sample(&rig, bench, load)),
            ("nginx, proxy_cache", || peer.sample(&rig, bench, load)),
        )?);
    }
    let subject = Subject {
        what: "full TLS 1.3 handshakes: server CPU for each (aim <= 0.8)",
        unit: "us",
        better: Better::Lower,
    };
    let handshakes = bench.effort.handshakes;
    rows.push(compare(
        &bench.options,
        subject,
        ("ksnproxy", || ours.0.shake_hands(&rig, handshakes)),
        ("nginx", || peer.shake_hands(&rig, handshakes)),
    )?);
    Ok(Report { rows, notes: vec![NOTE.to_owned()] })
}

impl Asked {
    fn new(rig: &Rig, file: &str, port: u16, process: u32) -> Result<Self> {
        let (server, uris) = (rig.at(port), rig.path(file));
        let mut text = String::new();
        for number in 0..KEYS {
            writeln!(text, "https://{server}/v1/verdict/{}", digest(number))?;
        }
        std::fs::write(&uris, text)?;
        Ok(Self { server, process, uris })
    }

    /// Answers a second, and nanoseconds of the server's CPU time for each.
    fn sample(&self, rig: &Rig, bench: &Bench, load: Load) -> Result<Samples<2>> {
        let cpu = cpu_time(self.process)?;
        // No less, for it begins with handshakes.
        let measured = bench.effort.measured.max(Duration::from_secs(1));
        let duration = format!("--duration={}ms", measured.as_millis());
        let (answers, rate) = self.h2load(rig, load, &duration)?;
        let cpu = cpu_time(self.process)?.saturating_sub(cpu);
        Ok(Samples { figures: [rate, cpu.as_secs_f64() * 1e9 / answers], cpu })
    }

    /// Answers, and answers a second; every one of them has to be good.
    fn h2load(&self, rig: &Rig, Load(connections, streams, more): Load, until: &str) -> Result<(f64, f64)> {
        let mut command = rig.client.place(Command::new("h2load"));
        command.args(["--threads=1", until]).args(more);
        command.arg(format!("--clients={connections}")).arg(format!("--max-concurrent-streams={streams}"));
        command.arg("--input-file").arg::<&Path>(&self.uris);
        let output = rig.ask(|| command.output().context("cannot start h2load"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        parse(&text).with_context(|| format!("h2load says: {text}"))
    }

    /// Microseconds of the server's CPU time for a connection that says nothing once it is made.
    fn shake_hands(&self, rig: &Rig, count: u32) -> Result<Sample> {
        let tls = unverified_config(&[])?;
        let cpu = cpu_time(self.process)?;
        rig.ask(|| {
            for _ in 0..count {
                let mut stream = TcpStream::connect_timeout(&self.server, PATIENCE)?;
                stream.set_nodelay(true)?;
                let name = ServerName::from(IpAddr::from(rig.address()));
                let mut connection = ClientConnection::new(tls.clone(), name)?;
                while connection.is_handshaking() {
                    connection.complete_io(&mut stream)?;
                }
            }
            Ok(())
        })?;
        let cpu = cpu_time(self.process)?.saturating_sub(cpu);
        Ok(Samples { figures: [cpu.as_secs_f64() * 1e6 / f64::from(count)], cpu })
    }
}

/// `finished in 1.50s, 106419.33 req/s, 20.1MB/s` and `status codes: 159629 2xx, 0 3xx, 0 4xx, 0 5xx`.
fn parse(text: &str) -> Result<(f64, f64)> {
    let after = |start| text.lines().find_map(|line| line.strip_prefix(start)).context(start);
    let (_, rate) = after("finished in ")?.split_once(", ").context("a rate")?;
    let (rate, _) = rate.split_once(" req/s").context("a rate")?;
    let codes: Vec<_> = after("status codes: ")?.split(", ").collect();
    let [good, others @ ..] = &codes[..] else { return Err(anyhow::anyhow!("no status")) };
    let good: f64 = good.strip_suffix(" 2xx").context("no answers")?.parse()?;
    ensure!(good > 0.0 && others.iter().all(|code| code.starts_with("0 ")), "answers are not good");
    Ok((good, rate.parse()?))
}

/// Verdicts that are asked for.
const KEYS: u32 = 1000;

const LOADS: [(&str, Load); 2] = [
    ("HTTP/2 hits, 16 connections, 16 requests each", Load(16, 16, &[])),
    ("HTTP/1.1 hits, 32 connections, one request each", Load(32, 1, &["--h1"])),
];

const NOTE: &str = "\
HTTPS: h2load for both, one thread, 1,000 verdicts in turn, TLS 1.3, certificates of the same authority with P-256 keys, neither \
resumes sessions; nginx has one worker, has cached the same JSON for an hour, keeps files open, and asks for no certificate, \
while ours takes one. Its rate begins with the connections.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_when_all_are_good() -> Result<()> {
        assert_eq!(parse(&said("0 4xx"))?, (159_629.0, 106_419.33));
        assert!(parse(&said("1 4xx")).is_err());
        Ok(())
    }

    fn said(failed: &str) -> String {
        format!(
            "starting benchmark...\nfinished in 1.50s, 106419.33 req/s, 20.1MB/s\n\
             status codes: 159629 2xx, 0 3xx, {failed}, 0 5xx\n"
        )
    }
}
