//! Peers that send garbage, dawdle, speak the wrong protocol, show the wrong certificate or flood: bounded memory, no
//! panic, every deadline kept, and a neighbour who feels nothing.

mod stage;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use bytes::BytesMut;
use klnet_tests::fault::{Mangle, Plan, Proxy};
use klnet_tests::sim::Rng;
use klnet_tests::{need_programs, scale};
use klnet_tunnel::label::Label;
use klnet_tunnel::net::inner;
use klnet_wire::frame::{Frame, IGNORABLE};
use klnet_wire::id::GrantId;
use klnet_wire::identity::authority::{Authority, Leaf, make_root};
use klnet_wire::identity::tls::{ALPN_AGENT, ALPN_HTTP, Identity, client_config};
use klnet_wire::identity::{Principal, Role};
use klnet_wire::message::tunnel::State;
use klnet_wire::message::{Hello, Kind, Message, TunnelState, Tunnels};
use klnet_wire::signed::Signed;
use klnet_wire::signing::SigningKey;
use rustls::pki_types::ServerName;
use stage::{Device, Neighbour, PATIENCE, Redeemed, Stage, cpu, echoes, memory, memory_peak, redeem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_every_port_ends_and_is_felt_by_nobody() -> Result<()> {
    let stage = Stage::set().await?;
    let neighbour = Neighbour::start(&stage).await?;
    let before = neighbour.descriptors(&stage)?;
    let mut rng = Rng::new(1);
    let each = scale(400, 2000);
    let mut ended = BTreeMap::new();
    for (name, port) in named_ports(&stage) {
        for _ in 0..each / AT_ONCE {
            let mut tasks = JoinSet::new();
            for _ in 0..AT_ONCE {
                let garbage = garbage(&mut rng);
                tasks.spawn(async move { ends(port, &garbage).await });
            }
            let count = tasks.join_all().await.into_iter().filter(|ended| *ended).count();
            *ended.entry(name).or_insert(0) += count;
        }
    }
    for (name, count) in &ended {
        assert_eq!(*count, each, "{name}: connections that the server has closed");
    }
    let felt = neighbour_felt(neighbour, &stage, &before).await?;
    println!("counted: garbage: {ended:?} connections, all closed; {felt}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_peers_are_given_up_on_at_every_stage() -> Result<()> {
    let stage = Arc::new(Stage::set().await?);
    let neighbour = Neighbour::start(&stage).await?;
    let before = neighbour.descriptors(&stage)?;
    let each = scale(20, 60);
    let hello = client_hello(&stage)?;
    let half = &hello[..hello.len() / 2];
    let mut tasks = JoinSet::new();
    for (name, port) in named_ports(&stage) {
        for (stall, first) in [("silent", &[][..]), ("one byte", &hello[..1]), ("half a ClientHello", half)] {
            for _ in 0..each {
                let first = first.to_vec();
                tasks.spawn(async move { (format!("{name}: {stall}"), given_up(port, &first).await) });
            }
        }
    }
    let body = scale("", "POST /api/v1/enroll HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{");
    for (stall, first) in [("half a header", "GET /api/v1/health HTTP/1.1\r\nHo"), ("half a body", body)] {
        for _ in 0..if first.is_empty() { 0 } else { each } {
            let stage = Arc::clone(&stage);
            tasks.spawn(async move { (format!("https: {stall}"), given_up_in_tls(&stage, first).await) });
        }
    }
    let mut longest: BTreeMap<String, Duration> = BTreeMap::new();
    for (stall, took) in tasks.join_all().await {
        let took = took.with_context(|| format!("{stall}: never given up"))?;
        let known = longest.entry(stall).or_default();
        *known = took.max(*known);
    }
    let felt = neighbour_felt(neighbour, &stage, &before).await?;
    for (stall, took) in &longest {
        println!("  {stall}: {each} given up, after {took:.1?} at most");
    }
    println!("counted: slow peers: {} ways x {each}, all given up; {felt}", longest.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hello_of_one_byte_segments_is_served_without_spinning() -> Result<()> {
    let stage = Stage::set().await?;
    let neighbour = Neighbour::start(&stage).await?;
    let dribble = Plan { up: Mangle { segment: Some(1), ..Mangle::default() }, ..Plan::default() };
    // By way of the tunnel port, and of the two that speak TLS themselves.
    let proxy = proxied(stage.ports.tunnels, &dribble).await?;
    let mut blob = stage.grant(&neighbour.device, neighbour.target.port).await?;
    blob.ports = vec![proxy.address().port()];
    let (start, used) = (Instant::now(), cpu(stage.server_id())?);
    let Redeemed::Ready(mut stream) = redeem(&blob, &stage.profile.identity.key, 0).await else {
        panic!("a tunnel whose hello comes byte by byte is served")
    };
    echoes(&mut stream, b"byte by byte").await?;
    let proxy = proxied(stage.ports.https, &dribble).await?;
    tls(proxy.address(), None, &stage, ALPN_HTTP).await.context("https byte by byte")?;
    let proxy = proxied(stage.ports.agents, &dribble).await?;
    let identity = neighbour.device.identity()?;
    tls(proxy.address(), Some(&identity), &stage, ALPN_AGENT).await.context("agents byte by byte")?;
    let served = start.elapsed();

    // A hello that stops half way is where a peek loop would spin: it is given up on after 3 s.
    let hello = client_hello(&stage)?;
    let (start, before) = (Instant::now(), cpu(stage.server_id())?);
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (half, port) = (hello[..100].to_vec(), stage.ports.tunnels);
        tasks.spawn(async move { given_up(port, &half).await });
    }
    assert!(tasks.join_all().await.into_iter().all(|took| took.is_some()));
    let (waited, burnt) = (start.elapsed(), cpu(stage.server_id())?.saturating_sub(before));
    assert!(burnt < waited / 2, "8 half hellos cost {burnt:?} of CPU in {waited:?}: something spins");
    let felt = neighbour.finish(&stage).await?;
    let total = cpu(stage.server_id())?.saturating_sub(used);
    println!(
        "counted: 1-byte segments: tunnels, https and agents served in {served:.1?}; 8 half hellos waited {waited:.1?} \
         for {burnt:.0?} of CPU ({total:.0?} in all); {felt}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_protocols_and_wrong_certificates_are_refused_on_every_port() -> Result<()> {
    let stage = Stage::set().await?;
    let neighbour = Neighbour::start(&stage).await?;
    let agent = stage.enrolled("web-7").await?.identity()?;
    let operator = &stage.profile.identity;
    let fabric = stage.fabric()?;
    let server = fabric.server_identity(&["127.0.0.1".into()], SystemTime::now())?;
    let stranger = of_another_fabric(&neighbour.device)?;
    let shown: [(&str, Option<&Identity>); 5] = [
        ("nobody", None),
        ("the agent", Some(&agent)),
        ("an operator", Some(operator)),
        ("a server", Some(&server)),
        ("a stranger", Some(&stranger)),
    ];
    let alpns: [&[&[u8]]; 5] = [&[ALPN_AGENT], &[ALPN_HTTP], &[inner::ALPN], &[b"h2"], &[]];
    let (mut refused, mut accepted) = (0, Vec::new());
    for (name, port) in named_ports(&stage) {
        for (who, identity) in shown {
            for alpn in alpns {
                match speaks(port, identity, &stage, alpn).await {
                    true => accepted.push((name, who, String::from_utf8_lossy(&alpn.concat()).into_owned())),
                    false => refused += 1,
                }
            }
        }
    }
    let mut right = vec![("agents", "the agent", "klnet/1".to_owned())];
    right.extend(["nobody", "the agent", "an operator"].map(|who| ("https", who, "http/1.1".to_owned())));
    // HTTP clients that know nothing of ALPN are HTTP/1.1 clients (RFC 9112, 9).
    right.extend(["nobody", "the agent", "an operator"].map(|who| ("https", who, String::new())));
    accepted.sort();
    right.sort();
    assert_eq!(accepted, right, "who was served where");
    let felt = neighbour.finish(&stage).await?;
    println!(
        "counted: ports x certificates x ALPN: {refused} refused, {} accepted, none of them wrong; {felt}",
        accepted.len()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_and_older_are_refused_on_every_port() -> Result<()> {
    if !need_programs(&["openssl"]) {
        return Ok(());
    }
    let stage = Stage::set().await?;
    let mut refused = 0;
    for (name, port) in named_ports(&stage) {
        for version in ["-tls1", "-tls1_1", "-tls1_2"] {
            let said = s_client(port, version)?;
            assert!(
                !said.contains("Verify return code: ") || said.contains("Cipher is (NONE)"),
                "{name} {version}: {said}"
            );
            refused += 1;
        }
    }
    let control = s_client(stage.ports.https, "-tls1_3")?;
    assert!(control.contains("TLSv1.3, Cipher is TLS_"), "the control: {control}");
    println!("counted: TLS 1.0 to 1.2: {refused} handshakes on 3 ports refused, TLS 1.3 served");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_frames_of_an_enrolled_device_cost_the_server_nothing_lasting() -> Result<()> {
    let stage = Stage::set().await?;
    let neighbour = Neighbour::start(&stage).await?;
    let hostile = stage.enrolled("hostile").await?;
    let identity = hostile.identity()?;
    let before = neighbour.descriptors(&stage)?;
    let wanted = scale(50_000, 1_000_000);
    let (resident, audited) = (memory(stage.server_id())?, stage.audit("tunnel.rejected").await?.len());
    let used = cpu(stage.server_id())?;
    let mut rng = Rng::new(2);
    let (mut sent, mut sessions) = (0, 0);
    while sent < wanted {
        sent += flood(&stage, &identity, &mut rng, wanted - sent).await?;
        sessions += 1;
    }
    let felt = neighbour_felt(neighbour, &stage, &before).await?;
    let (after, peak) = (memory(stage.server_id())?, memory_peak(stage.server_id())?);
    let entries = stage.audit("tunnel.rejected").await?.len() - audited;
    assert!(after < resident + GROWTH_LIMIT, "resident memory grew from {resident} to {after} KiB");
    // So many of a device in a minute are kept, and the flood takes no ten.
    assert!(entries <= 1000, "{entries} audit entries about grants that never were");
    let used = cpu(stage.server_id())?.saturating_sub(used);
    println!(
        "counted: {sent} hostile frames in {sessions} sessions: resident {resident} -> {after} KiB, peak {peak} KiB, \
         {used:.1?} of CPU, {entries} audit entries; {felt}"
    );
    Ok(())
}

/// One session of the hostile device: HELLO, then frames until the server has enough of it; says how many.
async fn flood(stage: &Stage, identity: &Identity, rng: &mut Rng, most: usize) -> Result<usize> {
    let mut stream = tls(stage.ports.agents.at(), Some(identity), stage, ALPN_AGENT).await?;
    let mut bytes = BytesMut::new();
    Message::Hello(Box::new(Hello { epoch: rng.bits(), ..Hello::default() })).encode(0, &mut bytes)?;
    stream.write_all(&bytes.split()).await?;
    // Before WELCOME the first frame would be the last.
    ensure!(timeout(PATIENCE, stream.read(&mut [0; 512])).await?? > 0, "no WELCOME");
    let burst = usize::try_from(rng.below(20_000))?.clamp(1, most);
    for _ in 0..burst {
        hostile_frame(rng, &mut bytes)?;
    }
    // A PING behind them proves that they were read; then something that ends the session.
    Message::Ping.encode(0, &mut bytes)?;
    fatal_frame(rng, &mut bytes)?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = async {
        for chunk in bytes.chunks(16_000) {
            writer.write_all(chunk).await?;
        }
        writer.flush().await
    };
    let mut answers = Vec::new();
    // The server closes without close_notify after a frame that breaks the protocol.
    let reading = async { drop(reader.read_to_end(&mut answers).await) };
    let (written, ()) = timeout(FLOOD_TIMEOUT, async { tokio::join!(writing, reading) }).await?;
    written.context("the server closed before it had read all")?;
    let answered = answers.windows(8).any(|header| header == [0, 0, Kind::Pong as u8, 0, 0, 0, 0, 0]);
    ensure!(answered, "the frames before the PING were not read");
    Ok(burst)
}

/// A frame that an agent may send, about things that are not.
fn hostile_frame(rng: &mut Rng, bytes: &mut BytesMut) -> Result<()> {
    let id = |rng: &mut Rng| [rng.bits().to_be_bytes(), rng.bits().to_be_bytes()].concat().into();
    let blob = |rng: &mut Rng, len: u64| {
        let len = rng.below(len);
        (0..len).map(|_| rng.bits().to_be_bytes()[0]).collect::<Vec<u8>>().into()
    };
    let message = match rng.below(6) {
        0 | 1 => Message::Ping,
        2 => Message::Tunnels(Tunnels { grants: (0..rng.below(40)).map(|_| id(rng)).collect() }),
        3 => Message::TunnelRecord(Signed {
            bytes: blob(rng, 300),
            key_id: blob(rng, 9),
            signature: blob(rng, 65),
        }),
        4 => {
            let frame = Frame { kind: 0xF0, flags: IGNORABLE, stream: 0, payload: blob(rng, 500) };
            return Ok(frame.encode(bytes)?);
        }
        _ => {
            let state = [State::GrantAccepted, State::GrantRefused, State::Verified, State::Rejected]
                [rng.within(0..4)];
            let reason = "<script>\u{1b}[2J".repeat(rng.within(0..20));
            Message::TunnelState(TunnelState {
                grant: id(rng),
                cookie: blob(rng, 21),
                state: state.into(),
                reason,
            })
        }
    };
    Ok(message.encode(0, bytes)?)
}

/// A frame that ends the session.
fn fatal_frame(rng: &mut Rng, bytes: &mut BytesMut) -> Result<()> {
    let oversized = [0xFF, 0xFF, Kind::Ping as u8, 0, 0, 0, 0, 0];
    let unknown = [0, 0, 0xF1, 0, 0, 0, 0, 0];
    match rng.below(4) {
        0 => bytes.extend_from_slice(&oversized),
        1 => bytes.extend_from_slice(&unknown),
        2 => Message::Hello(Box::default()).encode(0, bytes)?,
        _ => Message::Grant(Signed::default()).encode(0, bytes)?,
    }
    Ok(())
}

/// Whether the port serves who shows this certificate and offers these protocols: it answers within TLS.
async fn speaks(port: u16, identity: Option<&Identity>, stage: &Stage, alpn: &[&[u8]]) -> bool {
    let speaking = async {
        let config = client_config(identity, stage.profile.trust.clone(), alpn).ok()?;
        let stream = TcpStream::connect(port.at()).await.ok()?;
        let mut stream =
            TlsConnector::from(config).connect(ServerName::from(port.at().ip()), stream).await.ok()?;
        let mut bytes = BytesMut::new();
        if port == stage.ports.agents {
            Message::Hello(Box::default()).encode(0, &mut bytes).ok()?;
        } else {
            bytes.extend_from_slice(b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        stream.write_all(&bytes).await.ok()?;
        Some(stream.read(&mut [0; 64]).await.ok()? > 0)
    };
    timeout(PATIENCE, speaking).await.ok().flatten().unwrap_or(false)
}

/// A TLS connection of the stage's fabric.
async fn tls(
    address: SocketAddr,
    identity: Option<&Identity>,
    stage: &Stage,
    alpn: &[u8],
) -> Result<TlsStream<TcpStream>> {
    let config = client_config(identity, stage.profile.trust.clone(), &[alpn])?;
    let stream = TcpStream::connect(address).await?;
    Ok(TlsConnector::from(config).connect(ServerName::from(address.ip()), stream).await?)
}

/// Sends `bytes`, half-closes, and says whether the server has closed then.
async fn ends(port: u16, bytes: &[u8]) -> bool {
    let talk = async {
        let mut stream = TcpStream::connect(port.at()).await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        drained(&mut stream).await
    };
    // A reset is an end too.
    timeout(PATIENCE, talk).await.is_ok()
}

/// Sends `first` and nothing more; how long the server waited before it closed, if it did.
async fn given_up(port: u16, first: &[u8]) -> Option<Duration> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(port.at()).await.ok()?;
    stream.write_all(first).await.ok()?;
    let _ = timeout(GIVEN_UP_WITHIN, drained(&mut stream)).await.ok()?;
    Some(start.elapsed())
}

async fn given_up_in_tls(stage: &Stage, first: &str) -> Option<Duration> {
    let mut stream = tls(stage.ports.https.at(), None, stage, ALPN_HTTP).await.ok()?;
    let start = Instant::now();
    stream.write_all(first.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    let _ = timeout(GIVEN_UP_WITHIN, stream.read_to_end(&mut answer)).await.ok()?;
    Some(start.elapsed())
}

async fn drained(stream: &mut TcpStream) -> io::Result<()> {
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// What somebody sends who speaks none of our protocols, or begins as if they did.
fn garbage(rng: &mut Rng) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..rng.below(4000)).map(|_| rng.bits().to_be_bytes()[0]).collect();
    let beginning: &[u8] = match rng.below(6) {
        0 => &[],
        1 => b"GET / HTTP/1.1\r\n\r\n",
        2 => b"SSH-2.0-OpenSSH_9.2\r\n",
        3 => &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3],
        4 => &[22, 3, 1, 0xFF, 0xFF],
        _ => &[0x80, 0x2e, 1, 0, 2],
    };
    bytes.splice(..0, beginning.iter().copied());
    bytes
}

/// The first flight of a client that is well-formed and names a label nobody knows.
fn client_hello(stage: &Stage) -> Result<Vec<u8>> {
    let secret = klnet_tunnel::label::LabelSecret::new([3; 32]);
    let name = Label::of(&secret, GrantId::random(), 0).server_name();
    let key = &stage.profile.identity.key;
    let config = inner::initiator_config(key, key.public());
    let mut connection = rustls::ClientConnection::new(config, ServerName::try_from(name)?)?;
    let mut hello = Vec::new();
    connection.write_tls(&mut hello)?;
    ensure!(hello.len() > 200, "a ClientHello of {} bytes", hello.len());
    Ok(hello)
}

/// The device's names in a certificate of somebody else's authority.
fn of_another_fabric(device: &Device) -> Result<Identity> {
    let now = SystemTime::now();
    let root_key = SigningKey::generate_p256();
    let authority = Authority::make(make_root(&root_key, now)?, &root_key, SigningKey::generate_p256(), now)?;
    let own = device.identity()?;
    let principal = Principal::named_in(&own.chain[0]).context("a certificate names somebody")?;
    ensure!(principal.role == Role::Agent, "a device is an agent");
    let key = SigningKey::generate_p256();
    let leaf = Leaf::new(principal, Vec::new(), now, Duration::from_secs(3600));
    Ok(Identity { chain: authority.issue(key.public(), &leaf)?, key })
}

async fn proxied(port: u16, plan: &Plan) -> Result<Proxy> {
    let plan = plan.clone();
    Ok(Proxy::start(port.at(), move |_| plan.clone()).await?)
}

fn s_client(port: u16, version: &str) -> Result<String> {
    let mut client = Command::new("openssl");
    // Security level 0 lets OpenSSL offer what it has given up itself.
    client.args(["s_client", version, "-cipher", "ALL:@SECLEVEL=0", "-connect", &port.at().to_string()]);
    let output = client.stdin(Stdio::null()).output()?;
    Ok([output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
}

async fn neighbour_felt(neighbour: Neighbour, stage: &Stage, before: &[(u32, usize)]) -> Result<stage::Felt> {
    for (process, start) in before {
        let settled = stage::eventually(PATIENCE, async || {
            stage::held(*process).is_ok_and(|now| now <= start + SPARES)
        });
        settled.await.with_context(|| format!("descriptors: {start} -> {:?}", stage::held(*process)))?;
    }
    neighbour.finish(stage).await
}

fn named_ports(stage: &Stage) -> [(&'static str, u16); 3] {
    let ports = stage.ports;
    [("agents", ports.agents), ("https", ports.https), ("tunnels", ports.tunnels)]
}

trait At {
    fn at(self) -> SocketAddr;
}

impl At for u16 {
    /// This port of the loopback.
    fn at(self) -> SocketAddr {
        ([127, 0, 0, 1], self).into()
    }
}

const AT_ONCE: usize = 50;
/// Some thousand frames on a busy machine.
const FLOOD_TIMEOUT: Duration = Duration::from_secs(120);
/// The longest deadline before anyone is known is that of a request's body, 30 s.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(45);
/// Dial-backs of the neighbour's grant that come and go by themselves.
const SPARES: usize = 2;
/// Generous for an allocator that keeps what it had, far below what the frames would hold if kept, in KiB.
const GROWTH_LIMIT: u64 = 65_536;
