//! `klserver up`: what a new user sees first, with every line it prints run as it stands.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use klnet_tests::fleet::{PATIENCE, Said};
use klnet_tests::lab::{Host, Lab, Process, wait_until};
use klnet_tests::{need_programs, program};
use tempfile::TempDir;

#[test]
fn once_goes_the_whole_way_and_cleans_up() -> Result<()> {
    let Some(lab) = Lab::or_skip("once") else { return Ok(()) };
    let (host, temporary) = (lab.host("laptop")?, TempDir::new()?);
    let mut once = host.command(program("klserver")?);
    let said = Said::by(once.args(["up", "--once"]).env("TMPDIR", temporary.path()).env_remove("HOME"))?;
    println!("{}", said.ok()?);
    for step in ["heartbeat", "grant", "tunnel", "bytes both ways", "verdict", "revoke", "audit"] {
        let done = said.stdout.lines().any(|line| line.starts_with("ok ") && line.contains(step));
        ensure!(done, "no step {step} in: {}", said.stdout);
    }
    ensure!(!said.stdout.contains("FAILED"), "{}", said.stdout);
    let left: Vec<_> = std::fs::read_dir(temporary.path())?.flatten().collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    nothing_runs_on(&host)
}

#[test]
fn every_printed_line_works_when_it_is_pasted() -> Result<()> {
    let Some(lab) = Lab::or_skip("paste").filter(|_| need_programs(&["ssh", "sshd"])) else { return Ok(()) };
    let (host, state) = (lab.host("laptop")?, TempDir::new()?);
    let up = Up::start(&host, state.path())?;
    let lines = up.lines()?;
    ensure!(lines.len() >= 6, "{lines:?}");
    for Line { about, command } in &lines {
        println!("# {about}\n{command}");
        let pasted = || Said::by(sh(&host, command).current_dir("/"));
        match about.as_str() {
            about if about.starts_with("a shell on") => {
                // A person would type into it.
                let typed =
                    Said::within(PATIENCE, &mut sh(&host, command), b"echo typed: $((6 * 7))\nexit 5\n")?;
                ensure!(typed.code == 5 && typed.stdout.contains("typed: 42"), "{typed:?}");
            }
            about if about.starts_with("a local port") => {
                echoes(&host, &mut sh(&host, &format!("exec {command}")))?
            }
            about if about.starts_with("a tunnel as a blob") => {
                ensure!(pasted()?.ok()?.starts_with("klt1."), "{about}");
            }
            about if about.starts_with("what the KSN proxy says") => {
                ensure!(pasted()?.ok()?.contains("malicious"), "{about}");
            }
            about if about.starts_with("who did what") => {
                ensure!(pasted()?.ok()?.contains("device.enroll"), "{about}");
            }
            about if about.starts_with("why a device") => {
                ensure!(pasted()?.ok()?.contains("klnagent runs and is connected"), "{about}");
            }
            about => ensure!(!pasted()?.ok()?.is_empty(), "{about} prints nothing"),
        }
    }
    up.end(INTERRUPT)
}

#[test]
fn second_run_goes_on_where_the_first_one_ended() -> Result<()> {
    let Some(lab) = Lab::or_skip("again") else { return Ok(()) };
    let (host, state) = (lab.host("laptop")?, TempDir::new()?);
    let first = Up::start(&host, state.path())?;
    let (lines, before) = (first.lines()?, first.devices()?);
    first.end(INTERRUPT)?;

    let second = Up::start(&host, state.path())?;
    assert_eq!(second.lines()?, lines, "a line copied yesterday works today");
    let after = second.devices()?;
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_eq!(before[0]["id"], after[0]["id"], "the same device, not another one");
    // Killed this time: whatever it left behind does not stand in the way of the next.
    second.end(TERMINATE)?;
    Up::start(&host, state.path())?.end(INTERRUPT)
}

#[test]
fn up_runs_as_anybody_and_beside_whoever_has_its_ports() -> Result<()> {
    let Some(lab) = Lab::or_skip("anybody") else { return Ok(()) };
    let host = lab.host("laptop")?;
    let (state, programs) = (TempDir::new()?, TempDir::new()?);
    chown(state.path(), Some(NOBODY), Some(NOBODY))?;
    // Copied, since a checkout may lie where others have no way to.
    let klserver = programs.path().join("klserver");
    std::fs::copy(program("klserver")?, &klserver)?;
    std::fs::set_permissions(programs.path(), Permissions::from_mode(0o755))?;

    let taken = [8443, 23_100, 29_200, 7007, 2222].map(|port| {
        host.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, port)))?
            .with_context(|| format!("port {port}"))
    });
    let taken = taken.into_iter().collect::<Result<Vec<_>>>()?;
    let mut command = as_nobody(&host, klserver);
    let up = Up::run(&host, command.args(["up", "--state"]).arg(state.path().join("up")))?;
    let lines = up.lines()?;
    let about = |words| lines.iter().find(|line| line.about.contains(words)).context("a line");
    let blob = Said::by(as_nobody(&host, "sh").args(["-c", &about("blob")?.command]))?;
    ensure!(blob.ok()?.starts_with("klt1."), "{blob:?}");
    // klsctunnel turns away other users, and this test is one.
    let forward = format!("exec {} --any-user", about("local port")?.command);
    echoes(&host, as_nobody(&host, "sh").args(["-c", &forward]))?;
    drop(taken);
    up.end(INTERRUPT)
}

#[test]
fn child_that_dies_ends_the_whole_and_is_named() -> Result<()> {
    let Some(lab) = Lab::or_skip("child") else { return Ok(()) };
    let (host, state) = (lab.host("laptop")?, TempDir::new()?);
    let mut up = Up::start(&host, state.path())?;
    let agent = running_on(&host)?.into_iter().find(|(_, name)| name == "klnagent").context("an agent")?;
    signal("-KILL", agent.0)?;
    let status = up.process.wait(PATIENCE)?;
    ensure!(status.code() == Some(1), "{status}");
    let output = up.process.output()?;
    ensure!(output.contains("klnagent ended"), "{output}");
    nothing_runs_on(&host)
}

/// A running `klserver up`.
struct Up {
    host: Host,
    process: Process,
}

/// A line to paste, and what it is for.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    about: String,
    command: String,
}

impl Up {
    fn start(host: &Host, state: &Path) -> Result<Self> {
        let mut command = host.command(program("klserver")?);
        Self::run(host, command.args(["up", "--state"]).arg(state))
    }

    fn run(host: &Host, command: &mut Command) -> Result<Self> {
        let mut process = Process::spawn("up", command)?;
        process.wait_for_line("Ctrl-C ends it", PATIENCE)?;
        Ok(Self { host: host.clone(), process })
    }

    /// The lines it offers for pasting, each below a comment that says what it is for.
    fn lines(&self) -> Result<Vec<Line>> {
        let output = self.process.output()?;
        let lines: Vec<&str> = output.lines().map(str::trim).collect();
        let offered = lines.windows(2).filter_map(|pair| {
            let about = pair[0].strip_prefix("# ")?.to_owned();
            Some(Line { about, command: pair[1].to_owned() })
        });
        Ok(offered.collect())
    }

    fn devices(&self) -> Result<Vec<serde_json::Value>> {
        let line = self.lines()?.into_iter().find(|line| line.command.ends_with(" devices"));
        let list =
            Said::by(&mut sh(&self.host, &format!("{} --json", line.context("a line")?.command)))?.json()?;
        Ok(list.as_array().context("a list")?.clone())
    }

    /// Sends a signal, as Ctrl-C does, and insists that nothing stays behind.
    fn end(mut self, how: &str) -> Result<()> {
        signal(how, self.process.id())?;
        let status = self.process.wait(PATIENCE)?;
        ensure!(status.success(), "{status}: {}", self.process.output()?);
        nothing_runs_on(&self.host)
    }
}

/// What a person does with a line.
fn sh(host: &Host, line: &str) -> Command {
    let mut sh = host.command("sh");
    sh.args(["-c", line]);
    sh
}

/// Somebody with no rights at all.
fn as_nobody(host: &Host, program: impl AsRef<OsStr>) -> Command {
    let (nobody, mut setpriv) = (NOBODY.to_string(), host.command("setpriv"));
    setpriv.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups", "--no-new-privs"]);
    setpriv.arg(program).env("HOME", "/nowhere").current_dir("/");
    setpriv
}

/// Runs klsctunnel, which keeps a port open until it is ended, and sends something through.
fn echoes(host: &Host, klsctunnel: &mut Command) -> Result<()> {
    let mut forward = Process::spawn("forward", klsctunnel)?;
    let listening = forward.wait_for_line("127.0.0.1:", PATIENCE)?;
    let address = listening.split_whitespace().find_map(|word| word.strip_prefix("127.0.0.1:"));
    let port: u16 = address.and_then(|port| port.parse().ok()).with_context(|| listening.clone())?;
    let mut stream = host.inside(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"hello")?;
    let mut back = [0; 5];
    stream.read_exact(&mut back).with_context(|| forward.output().unwrap_or_default())?;
    assert_eq!(&back, b"hello");
    Ok(())
}

fn signal(signal: &str, pid: u32) -> Result<()> {
    Said::by(Command::new("kill").args([signal, &pid.to_string()]))?.ok().map(drop)
}

/// Insists that every process in a host's network namespace has ended.
fn nothing_runs_on(host: &Host) -> Result<()> {
    // What was told to end may still be on its way out of the kernel.
    let none = wait_until(Duration::from_secs(5), || Ok(running_on(host)?.is_empty().then_some(())))?;
    none.with_context(|| format!("still running: {:?}", running_on(host)))
}

fn running_on(host: &Host) -> Result<Vec<(u32, String)>> {
    let pids = host.run("ip", &["netns", "pids", host.name()])?;
    let pids = pids.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok());
    // The question itself runs there, too.
    Ok(pids.filter_map(|pid| Some((pid, name_of(pid)?))).filter(|(_, name)| name != "ip").collect())
}

/// The program's name; `None` for one that has ended and only waits to be asked how.
fn name_of(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    (!rest.trim_start().starts_with('Z')).then_some(())?;
    std::fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim().to_owned())
}

const INTERRUPT: &str = "-INT";
const TERMINATE: &str = "-TERM";
/// Debian's `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;
