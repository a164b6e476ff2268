//! Real programs reach a real device behind a router, through the server.

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use klnet_tests::fleet::service::{Echo, Postgres, Sshd};
use klnet_tests::fleet::{Device, Fleet, Held, Operator, PATIENCE, Said, Tunnel};
use klnet_tests::lab::{Host, Lab};
use klnet_tests::sim::Rng;
use klnet_tests::{Unavailable, need_programs, scale, skip};
use socket2::SockRef;
use tempfile::TempDir;

#[test]
fn openssh_session_runs_over_klsctunnel() -> Result<()> {
    let Some(Reach { fleet, device, anna }) = reach("ssh", &["ssh", "sshd"])? else { return Ok(()) };
    let sshd = Sshd::start(device.host(), 22)?;
    let options = sshd.options();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let held = Held::by(&fleet, &[&device])?;

    let session = anna.klsctunnel(&[&["ssh", "web-7"], &options[..], &[WHERE_AM_I]].concat())?;
    ensure!(session.code == 7, "the exit code of the far side comes back: {session:?}");
    assert_eq!(session.stdout.trim(), format!("on {} by {}", 22, "127.0.0.1"));

    let session = Said::by(openssh(&anna, "ssh", &sshd)?.args(["-p", "22", "web-7", WHERE_AM_I]))?;
    ensure!(session.code == 7, "{session:?}");
    assert_eq!(session.stdout.trim(), "on 22 by 127.0.0.1");

    let input = noise(1, scale(4, 64) << 20);
    let mut cat = openssh(&anna, "ssh", &sshd)?;
    let echoed = Said::within(scale(PATIENCE, PATIENCE * 10), cat.args(["web-7", "sha256sum"]), &input)?;
    assert_eq!(echoed.ok()?, Said::within(PATIENCE, &mut "sha256sum".command(), &input)?.ok()?);
    held.settle(&fleet)
}

#[test]
fn scp_and_sftp_bring_a_file_there_and_back() -> Result<()> {
    let Some(Reach { fleet: _fleet, device, anna }) = reach("scp", &["scp", "sftp", "sshd"])? else {
        return Ok(());
    };
    let sshd = Sshd::start(device.host(), 22)?;
    let folder = TempDir::new()?;
    let (here, there, back) =
        (folder.path().join("here"), folder.path().join("there"), folder.path().join("back"));
    fs::write(&here, noise(2, 3 << 20))?;

    Said::by(openssh(&anna, "scp", &sshd)?.arg(&here).arg(format!("web-7:{}", there.display())))?.ok()?;
    assert!(fs::read(&here)? == fs::read(&there)?, "scp changed the file");

    let batch = format!("get {} {}\nrm {}\n", there.display(), back.display(), there.display());
    let mut sftp = openssh(&anna, "sftp", &sshd)?;
    Said::within(PATIENCE, sftp.args(["-b", "-", "web-7"]), batch.as_bytes())?.ok()?;
    assert!(fs::read(&here)? == fs::read(&back)?, "sftp changed the file");
    assert!(!there.exists(), "sftp removed it on the device");
    Ok(())
}

#[test]
fn rsync_brings_a_tree_over_byte_for_byte() -> Result<()> {
    let Some(Reach { fleet: _fleet, device, anna }) = reach("rsync", &["rsync", "sshd"])? else {
        return Ok(());
    };
    let sshd = Sshd::start(device.host(), 22)?;
    let folder = TempDir::new()?;
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    let bytes = plant(&here, scale(12, 1024) << 20)?;

    let begun = Instant::now();
    rsync(&anna, &sshd, &here, &there, &[])?.ok()?;
    println!("rsync: {} MB in {:.1} s", bytes >> 20, begun.elapsed().as_secs_f64());
    Said::by("diff".command().arg("-r").args([&here, &there]))?.ok()?;

    // What changed on the device is found by rsync's own checksums, which travel through the tunnel too.
    let damaged = there.join("d1/f1");
    let mut content = fs::read(&damaged)?;
    *content.first_mut().context("no file is empty")? ^= 1;
    fs::write(&damaged, content)?;
    let again = rsync(&anna, &sshd, &here, &there, &["--checksum", "--itemize-changes"])?;
    assert_eq!(again.ok()?.lines().filter(|line| line.starts_with("<f")).count(), 1, "{again:?}");
    Said::by("diff".command().arg("-r").args([&here, &there]))?.ok().map(drop)
}

#[test]
fn psql_session_runs_against_a_postgresql_on_the_loopback() -> Result<()> {
    if !Postgres::is_installed() {
        skip(&Unavailable::Missing("postgresql".to_owned()));
        return Ok(());
    }
    let Some(Reach { fleet, device, anna }) = reach("psql", &["psql"])? else { return Ok(()) };
    let postgres = Postgres::start(device.host(), 5432)?;
    let held = Held::by(&fleet, &[&device])?;
    let target = format!("web-7:{}", postgres.port());
    let mut psql = anna.command("klsctunnel")?;
    psql.args(["--quiet", "run", &target, "--", "psql", "-h", "127.0.0.1", "-p", "{port}"]);
    psql.args(["-U", "klnet", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-qAt"]);
    let said = Said::within(PATIENCE, &mut psql, SESSION.as_bytes())?;
    assert_eq!(said.ok()?, "50005000\n10000|1000000", "{said:?}");

    let mut wrong = anna.command("klsctunnel")?;
    wrong.args(["--quiet", "run", &target, "--", "psql", "-h", "127.0.0.1", "-p", "{port}", "-U", "klnet"]);
    let said = Said::by(wrong.args(["-d", "postgres", "-c", "select 1/0"]))?;
    said.refused(1, "division by zero")?;
    held.settle(&fleet)
}

#[test]
fn one_side_can_finish_while_the_other_goes_on() -> Result<()> {
    let Some(Reach { fleet, device, anna }) = reach("half", &[])? else { return Ok(()) };
    let service = listen(device.host())?;
    let tunnel = tunnel_to(&anna, &service)?;
    let held = Held::by(&fleet, &[&device])?;

    let mut here = tunnel.connect()?;
    let (mut there, _) = service.accept()?;
    here.write_all(b"question")?;
    here.shutdown(Shutdown::Write)?;
    let mut question = String::new();
    there.read_to_string(&mut question)?;
    assert_eq!(question, "question", "the device's service sees the end of it");
    let answer = noise(3, 1 << 20);
    let sender = std::thread::spawn({
        let answer = answer.clone();
        move || there.write_all(&answer)
    });
    let mut received = Vec::new();
    here.read_to_end(&mut received)?;
    assert!(received == answer, "{} of {} bytes came back", received.len(), answer.len());
    sender.join().expect("the sender does not panic")?;

    // And the other way round.
    let mut here = tunnel.connect()?;
    let (mut there, _) = service.accept()?;
    there.shutdown(Shutdown::Write)?;
    assert_eq!(here.read(&mut [0])?, 0);
    here.write_all(b"still here")?;
    here.shutdown(Shutdown::Write)?;
    let mut rest = String::new();
    there.read_to_string(&mut rest)?;
    assert_eq!(rest, "still here");
    held.settle(&fleet)
}

#[test]
fn reset_stays_a_reset_and_an_end_stays_an_end() -> Result<()> {
    let Some(Reach { fleet, device, anna }) = reach("reset", &[])? else { return Ok(()) };
    let service = listen(device.host())?;
    let tunnel = tunnel_to(&anna, &service)?;
    let held = Held::by(&fleet, &[&device])?;
    for by_reset in [true, false] {
        for from_device in [true, false] {
            let here = tunnel.connect()?;
            let (there, _) = service.accept()?;
            there.set_read_timeout(Some(PATIENCE))?;
            let (closing, mut watching) = if from_device { (there, here) } else { (here, there) };
            if by_reset {
                // RFC 9293 leaves the abort to the interface; on Linux it is a linger of zero.
                SockRef::from(&closing).set_linger(Some(Duration::ZERO))?;
            }
            drop(closing);
            let seen = watching.read(&mut [0]).map_err(|error| error.kind());
            let wanted = if by_reset { Err(ErrorKind::ConnectionReset) } else { Ok(0) };
            assert_eq!(seen, wanted, "from the device: {from_device}, by reset: {by_reset}");
        }
    }
    held.settle(&fleet)
}

#[test]
fn nothing_is_lost_on_a_line_that_loses_one_packet_in_a_hundred() -> Result<()> {
    let Some(Reach { fleet: _fleet, device, anna }) = reach("loss", &[])? else { return Ok(()) };
    let echo = Echo::start(device.host())?;
    let tunnel = anna.tunnel(&format!("web-7:{}", echo.port()))?;
    let loss = device.host().loss(10)?;
    exchange(&tunnel, 4, scale(16, 256) << 20)?;
    println!("loss: {} of {} packets", loss.lost()?, loss.seen()?);
    ensure!(loss.lost()? > 0, "nothing was lost, so nothing was tested");
    Ok(())
}

#[test]
fn device_whose_router_was_rebooted_comes_back_by_itself() -> Result<()> {
    let Some(Reach { fleet, device, anna }) = reach("router", &[])? else { return Ok(()) };
    let echo = Echo::start(device.host())?;
    let before = device.status()?["connection"]["epoch"].clone();
    // Long enough that both ends give the session up: the router has forgotten it, and the way is cut meanwhile.
    let (router, server) = (device.nat().router(), fleet.server().host());
    router.partition(server)?;
    fleet.wait_online(&device, false, PATIENCE)?;
    device.nat().reboot()?;
    router.heal()?;
    server.heal()?;
    let healed = Instant::now();
    fleet.wait_online(&device, true, PATIENCE)?;
    println!("router rebooted: online {:.1} s after the line was back", healed.elapsed().as_secs_f64());
    ensure!(device.status()?["connection"]["epoch"] != before, "it is another session");
    exchange(&anna.tunnel(&format!("web-7:{}", echo.port()))?, 5, 1 << 20)
}

#[test]
fn rebooted_router_is_bridged_when_the_device_speaks_soon() -> Result<()> {
    let Some(Reach { fleet, device, anna }) = reach("reboot", &[])? else { return Ok(()) };
    let echo = Echo::start(device.host())?;
    device.nat().reboot()?;
    // The heartbeat opens the way again; the grant goes down it.
    exchange(&anna.tunnel(&format!("web-7:{}", echo.port()))?, 6, 1 << 20)?;
    fleet.wait_online(&device, true, PATIENCE)
}

#[test]
fn silent_device_is_offline_within_two_and_a_half_heartbeats() -> Result<()> {
    let Some(Reach { fleet, mut device, .. }) = reach("heartbeat", &[])? else { return Ok(()) };
    let heartbeat = device.status()?["connection"]["heartbeat_ms"].as_u64().context("a heartbeat")?;
    assert_eq!(heartbeat, 1000, "the server says how often");
    let limit = Duration::from_millis(heartbeat * 5 / 2) + COMMAND;

    device.agent()?.freeze()?;
    let frozen = Instant::now();
    fleet.wait_online(&device, false, PATIENCE)?;
    println!("frozen: offline after {:?}", frozen.elapsed());
    ensure!(frozen.elapsed() <= limit, "{:?} exceeds {limit:?}", frozen.elapsed());

    device.agent()?.thaw()?;
    let thawed = Instant::now();
    fleet.wait_online(&device, true, PATIENCE)?;
    println!("thawed: online after {:?}", thawed.elapsed());
    ensure!(thawed.elapsed() <= limit, "{:?} exceeds {limit:?}", thawed.elapsed());

    device.kill()?;
    let killed = Instant::now();
    fleet.wait_online(&device, false, PATIENCE)?;
    println!("killed: offline after {:?}", killed.elapsed());
    ensure!(killed.elapsed() <= COMMAND, "the kernel says good-bye for it: {:?}", killed.elapsed());
    Ok(())
}

#[test]
fn devices_and_tunnels_come_back_after_the_server_was_restarted() -> Result<()> {
    let Some(Reach { mut fleet, device, anna }) = reach("restart", &[])? else { return Ok(()) };
    let echo = Echo::start(device.host())?;
    for kill in [false, true] {
        let tunnel = anna.tunnel(&format!("web-7:{}", echo.port()))?;
        let mut open = tunnel.connect()?;
        open.write_all(b"x")?;
        open.read_exact(&mut [0])?;
        match kill {
            true => fleet.server_mut().kill()?,
            false => fleet.server_mut().stop()?,
        }
        // The relay lives in the server: its connections end with it, as a failure and not as an end of file.
        let end = open.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(end, Err(ErrorKind::ConnectionReset));
        assert_eq!(tunnel.wait_for_event("closed", 0, PATIENCE)?["reason"], "cut");
        let mut waits = tunnel.connect()?;
        let waiting = tunnel.wait_for_event("waiting", 0, PATIENCE)?;
        let why = waiting["why"].as_str().context("a reason")?;
        ensure!(why.contains("cannot reach the relay"), "{why}");

        fleet.server_mut().start()?;
        let started = Instant::now();
        fleet.wait_online(&device, true, PATIENCE)?;
        println!("server restarted (kill: {kill}): device back after {:?}", started.elapsed());
        ensure!(started.elapsed() <= RETURN_LIMIT, "the device took {:?}", started.elapsed());
        // The same klsctunnel goes on: what was granted before is void, so it asks for another grant. Who came while
        // the server was away has waited.
        waits.write_all(b"x")?;
        waits.read_exact(&mut [0])?;
        tunnel.wait_for_event("reconnected", 0, PATIENCE)?;
        exchange(&tunnel, 7, 1 << 20)?;
    }
    Ok(())
}

/// A server, a device `web-7` and an operator `anna` with the role tunnel.
struct Reach {
    fleet: Fleet,
    device: Device,
    anna: Operator,
}

fn reach(name: &str, programs: &[&str]) -> Result<Option<Reach>> {
    let Some(lab) = Lab::or_skip(name).filter(|_| need_programs(programs)) else { return Ok(None) };
    let fleet = Fleet::new(&lab)?;
    let (device, anna) = (fleet.device("web-7")?, fleet.operator("anna", &["tunnel"])?);
    Ok(Some(Reach { fleet, device, anna }))
}

/// ssh, scp or sftp with klsctunnel as its `ProxyCommand`.
fn openssh(operator: &Operator, program: &str, sshd: &Sshd) -> Result<std::process::Command> {
    let mut command = operator.host().command(program);
    command.env("KLNET_PROFILE", operator.profile()).args(sshd.options()).arg(proxy_command()?);
    Ok(command)
}

fn proxy_command() -> Result<String> {
    let klsctunnel = klnet_tests::program("klsctunnel")?;
    Ok(format!("-oProxyCommand='{}' --quiet stdio %h:%p", klsctunnel.display()))
}

fn rsync(operator: &Operator, sshd: &Sshd, from: &Path, to: &Path, more: &[&str]) -> Result<Said> {
    let shell = format!("ssh {} \"{}\"", sshd.options().join(" "), proxy_command()?);
    let mut rsync = operator.host().command("rsync");
    rsync.env("KLNET_PROFILE", operator.profile()).args(["-a", "-e", &shell]).args(more);
    rsync.arg(format!("{}/", from.display())).arg(format!("web-7:{}/", to.display()));
    Said::within(scale(PATIENCE, PATIENCE * 20), &mut rsync, b"")
}

/// A service of the test's own on the device's loopback.
fn listen(host: &Host) -> Result<TcpListener> {
    Ok(host.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))??)
}

fn tunnel_to(operator: &Operator, service: &TcpListener) -> Result<Tunnel> {
    operator.bare_tunnel(&format!("web-7:{}", service.local_addr()?.port()))
}

/// Sends so many bytes to an echo port and insists on every one of them.
fn exchange(tunnel: &Tunnel, seed: u64, bytes: usize) -> Result<()> {
    let (sent, mut reader) = (noise(seed, bytes), tunnel.connect()?);
    let mut writer = reader.try_clone()?;
    let mut received = Vec::with_capacity(bytes);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| send(&mut writer, &sent));
        let read = reader.read_to_end(&mut received);
        writing.join().expect("the writer does not panic")?;
        read
    })?;
    ensure!(sent == received, "{} of {bytes} bytes came back, or others", received.len());
    Ok(())
}

fn send(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes)?;
    stream.shutdown(Shutdown::Write)
}

/// Grows a tree of folders with about so many bytes, an empty folder, a link and a file that may be run.
fn plant(root: &Path, bytes: usize) -> Result<usize> {
    let mut rng = Rng::new(9);
    let mut planted = 0;
    for number in 0.. {
        let folder = root.join(format!("d{}", number % 16));
        fs::create_dir_all(&folder)?;
        let length = rng.within(1..bytes / 64);
        fs::write(folder.join(format!("f{number}")), noise(number, length))?;
        planted += length;
        if planted >= bytes {
            break;
        }
    }
    fs::create_dir_all(root.join("empty/deep"))?;
    std::os::unix::fs::symlink("d0/f0", root.join("link"))?;
    fs::set_permissions(root.join("d0/f0"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(planted)
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    Rng::new(seed).fill(&mut buffer);
    buffer
}

/// A program of this machine, outside every host.
trait Local {
    fn command(&self) -> std::process::Command;
}

impl<T: AsRef<OsStr> + ?Sized> Local for T {
    fn command(&self) -> std::process::Command {
        std::process::Command::new(self)
    }
}

/// sshd tells who connected, and where.
const WHERE_AM_I: &str = "set -- $SSH_CONNECTION; echo on $4 by $1; exit 7";
const SESSION: &str = "
create table things (number bigint, content text);
insert into things select number, repeat('x', 100) from generate_series(1, 10000) as number;
select sum(number) from things;
select count(*), sum(length(content)) from things;
";
/// What starting klctl, asking and reading its answer may take beside what is measured.
const COMMAND: Duration = Duration::from_millis(700);
/// The reconnect window of half a second, and the agent's own delay before it looks again.
const RETURN_LIMIT: Duration = Duration::from_secs(5);
