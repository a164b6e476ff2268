//! What `klserver up` shows: what listens where, lines to paste, and how it goes.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::api::types::{Ksn, Tunnel};
use crate::ctl::text::table;

use super::device::{quoted, ssh_config};
use super::reputation::question;
use super::stage::{Stage, devices};

/// Prints the table and the lines.
pub(super) fn print(stage: &Stage) {
    println!("{}", what_listens(stage));
    println!("\nPaste any of these into another terminal:\n");
    for (about, line) in lines(stage) {
        println!("  # {about}\n  {line}\n");
    }
    println!("Everything is kept in {}; Ctrl-C ends it.", stage.place.config().with_file_name("").display());
}

fn what_listens(stage: &Stage) -> String {
    let (place, device) = (&stage.place, &stage.device);
    let process = |name: &str| {
        let found = stage.processes.iter().find(|process| process.name == name);
        found.map_or(String::new(), |process| format!("{name} {}", process.id()))
    };
    let sshd = stage.sshd_port.map_or("not installed on this machine".into(), |port| format!("port {port}"));
    let rows = [
        ["API, discovery, enrolment".to_owned(), place.url(), process("klserver")],
        ["agents".into(), format!("127.0.0.1:{}", place.agent_port), process("klserver")],
        ["tunnels".into(), format!("127.0.0.1:{}", place.tunnel_port), process("klserver")],
        [format!("device {device}"), "dials out only".into(), process("klnagent")],
        [
            format!("echo port of {device}"),
            format!("port {}", stage.echo.port),
            format!("this one {}", std::process::id()),
        ],
        [format!("sshd of {device}"), sshd, process("sshd")],
        [
            format!("{device} as distribution point"),
            format!("127.0.0.1:{}", place.roles.files),
            process("klnagent"),
        ],
        [format!("{device} as KSN proxy"), ksn_ports(place.roles.ksn), process("klnagent")],
        ["reputation server".into(), place.reputation_server(), process("ksnserver")],
    ];
    table(["WHAT", "WHERE", "PROCESS"], rows)
}

fn ksn_ports([tcp, udp, _]: [u16; 3]) -> String {
    format!("127.0.0.1: TCP {tcp}, UDP {udp}")
}

/// Lines that work whenever they are pasted, from any folder.
fn lines(stage: &Stage) -> Vec<(String, String)> {
    let (place, device) = (&stage.place, &stage.device);
    let profile = format!("--profile {}", quoted(&place.profile()));
    let command = |name: &str| format!("{} {profile}", quoted(&place.command(name)));
    let (ctl, tunnel, echo) = (command("klctl"), command("klsctunnel"), stage.echo.port);
    let mut lines = vec![("the device and how it is".to_owned(), format!("{ctl} devices"))];
    if let Some(port) = stage.sshd_port {
        let config = quoted(&ssh_config(place));
        lines.push((format!("a shell on {device}"), format!("{tunnel} ssh {device}:{port} -F {config}")));
    }
    lines.push((
        format!("a local port that leads to the echo port of {device}"),
        format!("{tunnel} {device}:{echo}"),
    ));
    lines.push((
        "a tunnel as a blob, for an operator to paste".into(),
        format!("{ctl} tunnel grant {device} {echo}"),
    ));
    lines.push(("what the KSN proxy says of a file".into(), question(place, &stage.device_id)));
    lines.push(("what the KSN proxy has counted".into(), format!("{ctl} ksn")));
    lines.push((
        "a file for every device: each has it in its folder received/".into(),
        format!("{ctl} distribute {} --group /", quoted(&place.config())),
    ));
    lines.push(("who did what".into(), format!("{ctl} audit")));
    lines.push((
        "why a device does not connect, in plain words".into(),
        format!("{} --state {}", quoted(&place.command("klnagchk")), quoted(&place.device())),
    ));
    lines
}

/// One line at the bottom that says how it goes, on a terminal.
pub(super) struct LiveStatus(ProgressBar);

impl LiveStatus {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    pub(super) async fn show(&self, stage: &Stage) {
        // The server may be busy or gone for a moment: the last line stays then.
        let Ok(devices) = devices(&stage.client).await else { return };
        let Ok(tunnels) = stage.client.get::<Vec<Tunnel>>("/api/v1/tunnels").await else { return };
        let online = devices.iter().filter(|device| device.online).count();
        let (known, open) = (devices.len(), tunnels.len());
        let Ok(ksn) = stage.client.get::<Vec<Ksn>>("/api/v1/ksn-proxies").await else { return };
        let asked: u64 = ksn.iter().filter_map(|ksn| Some(ksn.state.as_ref()?.received)).sum();
        self.0.set_message(format!(
            "{online} of {known} devices online, {open} tunnels open, the KSN proxy was asked {asked} times"
        ));
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
