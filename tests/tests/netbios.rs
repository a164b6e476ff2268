//! `klpoll windows` beside a real nmbd: who has a NetBIOS name is found, and who is silent costs nobody anything.

mod field;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use field::{Field, Polled};
use klnet_tests::lab::wait_until;
use klnet_tests::peer::Samba;
use klnet_tests::{need_programs, program};

#[test]
fn only_neighbours_that_are_there_are_asked_for_their_names() -> Result<()> {
    let Some((field, _samba)) = named("24")? else { return Ok(()) };
    count_datagrams(&field)?;
    let poll = || field.klpoll(&["windows", "10.89.0.0/24", "--profile", "lan", "--csv"]);
    // nmbd answers once it has registered its names.
    let all = || Ok(Some(poll()?.addresses()?.len()).filter(|found| *found == NAMED));
    wait_until(Duration::from_secs(20), all)?.context("nmbd does not answer")?;
    let counted = field.poller.run("nft", &["list", "table", "ip", "seen"])?;
    ensure!(counted.contains("counter packets 0 "), "a silent address was asked: {counted}");
    let looked_for = field.poller.ip("neigh show")?;
    ensure!(
        !looked_for.contains("FAILED") && !looked_for.contains("INCOMPLETE"),
        "the kernel looked for somebody: {looked_for}"
    );
    Ok(())
}

#[test]
fn a_user_without_privileges_finds_every_name_and_no_silent_address_holds_up_another() -> Result<()> {
    if !need_programs(&["strace", "setpriv"]) {
        return Ok(());
    }
    // More silent addresses than the buffer of one socket has room for.
    let Some((field, _samba)) = named("23")? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    let (klpoll, trace) = (folder.path().join("klpoll"), folder.path().join("trace"));
    std::fs::copy(program("klpoll")?, &klpoll)?;
    let poll = || {
        let mut command = field.poller.command("strace");
        command.args(["-f", "-qq", "-e", "trace=sendto", "-o"]).arg(&trace).args(["--", "setpriv"]);
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&klpoll);
        Polled::of(command.args(["windows", "10.89.0.0/23", "--profile", "lan", "--csv"]))
    };
    let all = || Ok(Some(poll()?.addresses()?.len()).filter(|found| *found == NAMED));
    wait_until(Duration::from_secs(60), all)?.context("nmbd does not answer")?;
    let trace = std::fs::read_to_string(&trace)?;
    let asked: Vec<_> = trace.lines().filter(|line| line.contains("htons(137)")).collect();
    ensure!(asked.len() > 500, "{} questions were traced", asked.len());
    let held_up = asked.windows(2).find(|pair| {
        let is_full = pair[0].contains("EAGAIN") || pair[0].contains("ENOBUFS");
        is_full && (socket(pair[0]) == socket(pair[1]) || pair[1].contains(" = -1 "))
    });
    ensure!(held_up.is_none(), "nobody waits for room, another socket has it: {held_up:?}");
    Ok(())
}

/// The descriptor in a line such as `7 sendto(9, …`.
fn socket(line: &str) -> Option<&str> {
    line.split_once("sendto(")?.1.split(',').next()
}

/// A network on the wire in which nmbd answers at some addresses; nobody has the others.
fn named(bits: &str) -> Result<Option<(Field, Samba)>> {
    if !need_programs(&["nmbd"]) {
        return Ok(None);
    }
    let Some(field) = Field::or_skip("netbios")? else { return Ok(None) };
    field.on_link(&format!("10.89.0.254/{bits}"), &[])?;
    for last in 16..16 + NAMED {
        field.crowd.ip(&format!("addr add 10.89.0.{last}/{bits} dev eth0"))?;
    }
    let samba = Samba::naming(&field.crowd)?;
    Ok(Some((field, samba)))
}

/// Counts questions to addresses that nobody has.
fn count_datagrams(field: &Field) -> Result<()> {
    let rules = "add table ip seen; add chain ip seen out { type filter hook output priority 0; }; \
                 add rule ip seen out udp dport 137 ip daddr != { 10.89.0.16-10.89.0.31, 10.89.0.254 } counter";
    field.poller.run("nft", &[rules]).map(drop)
}

const NAMED: usize = 16;
