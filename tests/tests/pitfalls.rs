//! What relays are known to do wrong, through the whole product: slow readers, too few descriptors or pipes, a rate, a
//! peer that is gone. The movers' own tests hold the rest (`tunnel/src/net/mover`).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use klnet_tests::fault::limit_descriptors;
use klnet_tests::fleet::service::{Call, Echo, Ending, Parley, Talk};
use klnet_tests::fleet::{Device, Fleet, Operator, PATIENCE, Tunnel};
use klnet_tests::lab::{Host, Lab, wait_until};
use klnet_tests::scale;
use klnet_tests::sim::Rng;

#[test]
fn fifty_slow_readers_cost_only_themselves() -> Result<()> {
    let Some(Site { fleet, device, anna, .. }) = site("slow", "")? else { return Ok(()) };
    let (flood, echo) = (Flood::start(device.host(), u64::MAX)?, Echo::start(device.host())?);
    let turns = anna.tunnel(&format!("web-7:{}", echo.port()))?;
    let mut chat = turns.connect()?;
    let alone = median_turn(&mut chat)?;
    let tunnel = anna.bare_tunnel(&format!("web-7:{}", flood.port))?;
    let readers = (0..SLOW).map(|_| tunnel.connect()).collect::<Result<Vec<_>>>()?;
    flood.wait_until_stuck()?;
    let beside = median_turn(&mut chat)?;
    println!("counted: a turn takes {alone:.1?} alone, {beside:.1?} beside {SLOW} that do not read");
    ensure!(beside < alone * 3 + Duration::from_millis(2), "{alone:?} alone, {beside:?} beside them");
    let resident = resident(fleet.server().pid()?)?;
    ensure!(resident < 200 << 10, "the server holds {resident} KiB for them");
    // The control: they were not dead but slow.
    for mut reader in readers {
        reader.read_exact(&mut vec![0; 1 << 20])?;
    }
    Ok(())
}

#[test]
fn bulk_goes_on_while_the_server_has_no_descriptor_left() -> Result<()> {
    let Some(Site { mut fleet, device, anna, .. }) = site("emfile", "")? else { return Ok(()) };
    fleet.server_mut().stop()?;
    let mut command = fleet.server().command()?;
    fleet.server_mut().start_as(limit_descriptors(&mut command, DESCRIPTORS))?;
    fleet.wait_online(&device, true, PATIENCE)?;
    let parley = Parley::start(device.host())?;
    let tunnel = anna.bare_tunnel(&format!("web-7:{}", parley.port()))?;
    let calls = calls(&tunnel, 0, 10, Talk::Bulk)?;
    let server = fleet.server().host().address();
    for _ in 0..scale(2, 10) {
        // All at once: who says nothing is shown the door after a few seconds.
        let crowd = || (0..DESCRIPTORS).map(|_| TcpStream::connect((server, 29_200))).collect::<Vec<_>>();
        let strangers = anna.host().inside(crowd)?;
        let full = || {
            let open = klnet_tests::fleet::descriptors(fleet.server().pid()?)?;
            Ok((u64::try_from(open)? + 2 >= DESCRIPTORS).then_some(()))
        };
        wait_until(PATIENCE, full)?.context("the server never runs out of descriptors")?;
        let heard: Vec<_> = calls.iter().map(Call::heard).collect();
        let onward =
            || Ok(calls.iter().zip(&heard).all(|(call, heard)| call.heard() > heard + 10).then_some(()));
        wait_until(PATIENCE, onward)?.context("a bulk stream has stopped")?;
        drop(strangers);
    }
    all_whole(&parley, calls)?;
    all_whole(&parley, self::calls(&tunnel, 100, 3, Talk::Chat)?)
}

#[test]
fn an_unprivileged_server_copies_what_it_has_no_pipes_for() -> Result<()> {
    let Some(Site { mut fleet, device, anna, .. }) = site("nobody", METRICS)? else { return Ok(()) };
    let parley = Parley::start(device.host())?;
    fleet.server_mut().stop()?;
    give_to_nobody(&fleet)?;
    for (used_up, first) in [(false, 0), (true, 100)] {
        // Pipes count against their user, whichever process holds them.
        let _theirs = used_up.then(use_up_pipes).transpose()?;
        start_as_nobody(&mut fleet)?;
        fleet.wait_online(&device, true, PATIENCE)?;
        let tunnel = anna.bare_tunnel(&format!("web-7:{}", parley.port()))?;
        let before = Relayed::by(&fleet)?;
        let calls = calls(&tunnel, first, 12, Talk::Bulk)?;
        let moved = || Ok((Relayed::by(&fleet)?.since(&before).total() > 20 << 20).then_some(()));
        wait_until(PATIENCE, moved)?.context("bulk does not flow")?;
        all_whole(&parley, calls)?;
        let moved = Relayed::by(&fleet)?.since(&before);
        println!("counted: pipes used up: {used_up}: {moved:?}");
        let copied = moved.copied * 100 / moved.total();
        ensure!(
            if used_up { copied > 90 } else { copied < 60 },
            "{copied} % copied, pipes used up: {used_up}"
        );
        fleet.server_mut().stop()?;
    }
    Ok(())
}

#[test]
fn tenant_rate_is_kept_within_a_tenth_and_counted() -> Result<()> {
    let settings = format!("{METRICS}\n[limits]\ntenant_rate = \"{}Mbit/s\"", RATE * 8 / 1_000_000);
    let Some(Site { fleet, device, anna, .. }) = site("rate", &settings)? else { return Ok(()) };
    let flood = Flood::start(device.host(), u64::MAX)?;
    let tunnel = anna.bare_tunnel(&format!("web-7:{}", flood.port))?;
    let received = Arc::new(AtomicU64::new(0));
    for _ in 0..3 {
        let (mut stream, received) = (tunnel.connect()?, Arc::clone(&received));
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                received.fetch_add(length as u64, Ordering::Relaxed);
            }
        });
    }
    let so_far = || received.load(Ordering::Relaxed);
    let at_least = |bytes| wait_until(PATIENCE * 2, || Ok((so_far() >= bytes).then(Instant::now)));
    // The bucket's burst, and what fits into sockets, is over by then.
    let begun = at_least(RATE)?.context("nothing flows")?;
    let (counted, first) = (Relayed::by(&fleet)?, so_far());
    // The server looks at its connections every two seconds, which must be little of this.
    let ended = at_least(first + RATE * scale(16, 40))?.context("the flow has stopped")?;
    let (counted, moved) = (Relayed::by(&fleet)?.since(&counted).total(), so_far() - first);
    let rate = moved as f64 / (ended - begun).as_secs_f64() / RATE as f64;
    println!("counted: tenant_rate: {rate:.3} of what was asked for, {moved} bytes, {counted} of the relay");
    ensure!((0.9..1.1).contains(&rate), "{rate:.3} of what was asked for");
    let counted = counted as f64 / moved as f64;
    ensure!((0.9..1.1).contains(&counted), "the metric says {counted:.3} of what came");
    Ok(())
}

/// Both at once, since both take their time.
#[test]
fn a_dead_peer_ends_its_connection_and_a_slow_one_does_not() -> Result<()> {
    let Some(Site { fleet, device, anna, lab: _lab }) = site("dead", "")? else { return Ok(()) };
    let (other, bert) = (fleet.device("web-8")?, fleet.operator("bert", &["tunnel"])?);
    let (here, there) = (Parley::start(device.host())?, Parley::start(other.host())?);
    let vanishing = anna.bare_tunnel(&format!("web-7:{}", here.port()))?;
    let left = bert.bare_tunnel(&format!("web-8:{}", there.port()))?;
    let flood = Flood::start(other.host(), 24 << 20)?;
    let mut slow = anna.bare_tunnel(&format!("web-8:{}", flood.port))?;
    let mut reader = slow.connect()?;
    flood.wait_until_stuck()?;
    let (of_device, of_operator) = (calls(&vanishing, 0, 2, Talk::Bulk)?, calls(&left, 10, 2, Talk::Bulk)?);

    let server = fleet.server().host();
    for router in [device.nat().router(), bert.nat().router()] {
        server.partition(router)?;
    }
    let vanished = Instant::now();
    // At klsctunnel, at the relay (which tells the end that is still there) and at the agent.
    for (calls, parley) in [(of_device, &here), (of_operator, &there)] {
        for call in calls {
            let id = call.id();
            let ending = call.ending();
            ensure!(matches!(ending, Ending::Broken(_)), "{id} is {ending:?} at its user");
            let told =
                wait_until(DEAD, || Ok(parley.ending(id)))?.context("the service never hears of it")?;
            ensure!(matches!(told, Ending::Broken(_)), "{id} is {told:?} at the service");
            ensure!(vanished.elapsed() < DEAD, "{id} ended only after {:?}", vanished.elapsed());
        }
    }
    let noticed = vanished.elapsed();
    wait_until(scale(Duration::ZERO, Duration::from_secs(60)).saturating_sub(noticed), || Ok(None::<()>))?;
    let idle = vanished.elapsed();
    ensure!(slow.process().is_running()?);
    let (mut wanted, mut rest) = (Rng::new(FLOOD), Vec::new());
    reader.read_to_end(&mut rest)?;
    let mut expected = vec![0; rest.len()];
    wanted.fill(&mut expected);
    ensure!(rest.len() == 24 << 20, "{} bytes came after all", rest.len());
    ensure!(rest == expected, "other bytes came");
    println!(
        "counted: dead peers noticed everywhere after {noticed:.1?}; one that read nothing for {idle:.1?} lives"
    );
    Ok(())
}

struct Site {
    fleet: Fleet,
    device: Device,
    anna: Operator,
    lab: Lab,
}

fn site(name: &str, settings: &str) -> Result<Option<Site>> {
    let Some(lab) = Lab::or_skip(name) else { return Ok(None) };
    let fleet = Fleet::configured(&lab, settings)?;
    let (device, anna) = (fleet.device("web-7")?, fleet.operator("anna", &["tunnel"])?);
    Ok(Some(Site { fleet, device, anna, lab }))
}

/// Conversations that are under way.
fn calls(tunnel: &Tunnel, first: u64, count: usize, talk: Talk) -> Result<Vec<Call>> {
    let calls = (first..).take(count).map(|id| Call::begin(tunnel.connect()?, id, talk));
    let calls = calls.collect::<Result<Vec<_>>>()?;
    for call in &calls {
        let begun = wait_until(PATIENCE * 2, || Ok((call.heard() > 1).then_some(())))?;
        begun.with_context(|| format!("{talk:?} {} does not begin", call.id()))?;
    }
    Ok(calls)
}

fn all_whole(parley: &Parley, calls: Vec<Call>) -> Result<()> {
    for call in &calls {
        call.close();
    }
    for call in calls {
        let id = call.id();
        assert_eq!(call.ending(), Ending::Whole, "{id} at its user");
        assert_eq!(
            wait_until(PATIENCE, || Ok(parley.ending(id)))?,
            Some(Ending::Whole),
            "{id} at the service"
        );
    }
    Ok(())
}

/// A service that sends so much of a seeded stream to everyone, whether they read or not.
struct Flood {
    port: u16,
    sent: Arc<AtomicU64>,
}

impl Flood {
    fn start(host: &Host, bytes: u64) -> Result<Self> {
        let listener = host.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))??;
        let (port, sent) = (listener.local_addr()?.port(), Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&sent);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                std::thread::spawn(move || pour(stream, bytes, &count));
            }
        });
        Ok(Self { port, sent })
    }

    /// Waits until nobody takes anything any more.
    fn wait_until_stuck(&self) -> Result<()> {
        let mut last = (0, Instant::now());
        let stuck = || {
            let sent = self.sent.load(Ordering::Relaxed);
            if sent != last.0 || sent == 0 {
                last = (sent, Instant::now());
            }
            Ok((last.1.elapsed() > Duration::from_millis(700)).then_some(()))
        };
        wait_until(PATIENCE * 4, stuck)?.context("the readers are not slow")
    }
}

fn pour(mut stream: TcpStream, bytes: u64, count: &AtomicU64) {
    let (mut source, mut block, mut left) = (Rng::new(FLOOD), vec![0; 64 * 1024], bytes);
    while left > 0 {
        source.fill(&mut block);
        let length = usize::try_from(left).unwrap_or(block.len()).min(block.len());
        if stream.write_all(&block[..length]).is_err() {
            return;
        }
        left -= length as u64;
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// How long a question of 64 bytes and its answer take, of a few hundred.
fn median_turn(stream: &mut TcpStream) -> Result<Duration> {
    let mut took = Vec::new();
    stream.set_nodelay(true)?;
    for _ in 0..400 {
        let begun = Instant::now();
        stream.write_all(&[7; 64])?;
        stream.read_exact(&mut [0; 64])?;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    Ok(took[took.len() / 2])
}

/// What the server's metrics say of how bytes were moved.
#[derive(Clone, Copy, Debug)]
struct Relayed {
    spliced: u64,
    copied: u64,
}

impl Relayed {
    fn by(fleet: &Fleet) -> Result<Self> {
        let mut scrape = fleet.server().host().inside(|| TcpStream::connect(("127.0.0.1", 9464)))??;
        scrape.write_all(b"GET /metrics HTTP/1.1\r\n\r\n")?;
        let mut text = String::new();
        scrape.read_to_string(&mut text)?;
        let value = |by| {
            let name = format!("klserver_relayed_bytes_total{{by=\"{by}\"}} ");
            let value = text.lines().find_map(|line| line.strip_prefix(&name));
            value.map_or(Ok(0), |value| value.parse().context("a counter is a number"))
        };
        Ok(Self { spliced: value("splice")?, copied: value("copy")? })
    }

    fn since(self, before: &Self) -> Self {
        Self { spliced: self.spliced - before.spliced, copied: self.copied - before.copied }
    }

    fn total(self) -> u64 {
        self.spliced + self.copied
    }
}

/// Lets somebody without rights run the server.
fn give_to_nobody(fleet: &Fleet) -> Result<()> {
    let state = fleet.server().state();
    let folder = state.parent().context("it is in a folder")?;
    let inside = std::fs::read_dir(state)?.map(|entry| Ok(entry?.path()));
    let inside = inside.collect::<std::io::Result<Vec<_>>>()?;
    for path in inside.iter().map(|path| &**path).chain([state, folder, fleet.server().config()]) {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    // As with systemd, which gives the unit the one right that it needs.
    let low = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    Ok(fleet.server().host().inside(|| std::fs::write(low, "0"))??)
}

fn start_as_nobody(fleet: &mut Fleet) -> Result<()> {
    let klserver = fleet.server().command()?;
    let mut setpriv = fleet.server().host().command("setpriv");
    let nobody = NOBODY.to_string();
    setpriv.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]).current_dir("/");
    setpriv.arg(klserver.get_program()).args(klserver.get_args());
    fleet.server_mut().start_as(&mut setpriv)
}

/// Makes so many pipes in that user's name that the kernel has only tiny ones left for them (pipe(7)).
fn use_up_pipes() -> Result<Vec<(std::io::PipeReader, std::io::PipeWriter)>> {
    let thread = std::thread::spawn(|| -> Result<_> {
        let nobody = rustix::process::Uid::from_raw(NOBODY);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody)?;
        let pipes = (0..1024).map(|_| Ok(std::io::pipe()?));
        pipes.collect()
    });
    thread.join().expect("it does not panic")
}

/// KiB.
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("it has memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

const METRICS: &str = "metrics = \"127.0.0.1:9464\"";
const SLOW: usize = 50;
const DESCRIPTORS: u64 = 300;
/// Bytes per second.
const RATE: u64 = 2_500_000;
/// Noticed within 30 s, with what a busy machine adds.
const DEAD: Duration = Duration::from_secs(35);
/// The seed of every flood.
const FLOOD: u64 = 77;
/// Debian's `nobody`.
const NOBODY: u32 = 65_534;
