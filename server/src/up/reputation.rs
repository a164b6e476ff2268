//! A reputation server that knows one file, and how to ask the device's KSN proxy for it.

use std::fs;

use tokio::process::Command;

use super::device::quoted;
use super::place::Place;
use super::process::{Process, output};

/// SHA-256 of the anti-malware test file that EICAR publishes: malicious to everybody, and harmless.
const TEST_FILE: &str = "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f";

/// Takes in the list, whose lines are the user's to change, and serves it.
///
/// # Errors
/// When the list is refused, or the server does not start.
pub(super) async fn start(place: &Place) -> anyhow::Result<Process> {
    let list = place.reputation().join("own.txt");
    if !list.exists() {
        fs::create_dir_all(place.reputation())?;
        fs::write(
            &list,
            format!("# What is malicious: a hash, address, domain or URL a line\n{TEST_FILE}\n"),
        )?;
    }
    let ksnserver = || {
        let mut command = Command::new(place.command("ksnserver"));
        command.arg("--store").arg(place.reputation().join("store"));
        command
    };
    output(ksnserver().args(["import", "block", "--source", "own"]).arg(list)).await?;
    let identity = place.server().join("server.identity");
    let listen = place.reputation_server();
    let mut serve = ksnserver();
    serve.args(["serve", "--listen", &listen, "--identity"]).arg(identity);
    Process::start("ksnserver", &place.logs(), &mut serve)
}

/// The line that asks the device's KSN proxy for [`TEST_FILE`], as the device itself.
pub(super) fn question(place: &Place, device: &str) -> String {
    let [tcp, udp, _] = place.roles.ksn;
    let (ksnproxy, identity) = (quoted(&place.command("ksnproxy")), quoted(&place.device()));
    format!(
        "{ksnproxy} query --proxy 127.0.0.1:{udp} --tickets 127.0.0.1:{tcp} --identity {identity} --device {device} {TEST_FILE}"
    )
}
