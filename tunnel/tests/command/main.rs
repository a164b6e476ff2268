//! The `klsctunnel` command as a process, against a relay, a target and a small API in this one.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod api;
mod openssh;
mod outage;
mod socks;
mod terminal;
#[allow(dead_code)] // shared with the tests of whole tunnels, which use more of it
#[path = "../loopback/world.rs"]
mod world;

use std::path::PathBuf;
use std::process::{Output, Stdio};

use api::Api;
use klnet_tunnel::blob::Blob;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use world::{Echo, World, echoes};

#[tokio::test]
async fn a_pasted_blob_opens_a_local_port() {
    let (bench, echo) = (Bench::new().await, Echo::start().await);
    let mut command = bench.command(&["-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut pasted = command.stdin.take().unwrap();
    pasted.write_all(format!("{}\n", bench.world.blob(echo.port).await).as_bytes()).await.unwrap();
    let address = first_address(&mut command).await;
    assert_eq!(echo.accepted(), 1, "the session has begun: the blob's time to start cannot pass any more");
    let mut local = TcpStream::connect(address).await.unwrap();
    echoes(&mut local, &[3; 100_000]).await;
    assert_eq!(echo.accepted(), 1, "by the connection that now serves the first who comes");
    local.shutdown().await.unwrap();
    assert_eq!(local.read(&mut [0; 1]).await.unwrap(), 0, "a clean end on both sides");
}

#[tokio::test]
async fn a_device_and_port_are_enough_and_an_old_grant_is_replaced_silently() {
    let (bench, echo) = (Bench::new().await, Echo::start().await);
    let mut command = bench.command(&[&format!("web-7:{}", echo.port)]).spawn().unwrap();
    let local = first_address(&mut command).await;
    echoes(&mut TcpStream::connect(&local).await.unwrap(), b"the first grant").await;
    assert_eq!(bench.api.grants(), 1);
    bench.world.relay.revoke(klnet_tunnel::relay::Scope::All).await.unwrap();
    echoes(&mut TcpStream::connect(&local).await.unwrap(), b"the second grant").await;
    assert_eq!(bench.api.grants(), 2);
}

#[tokio::test]
async fn another_users_process_is_turned_away_unless_any_user_may_come() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can be another user");
    }
    let (bench, echo) = (Bench::new().await, Echo::start().await);
    let target = format!("web-7:{}", echo.port);
    for (options, expected) in [(&[][..], ""), (&["--any-user"], "hello\n")] {
        let mut command = bench.command(&[options, &[target.as_str()]].concat()).spawn().unwrap();
        let local = first_address(&mut command).await.replace(':', "/");
        let script = format!("exec 3<>/dev/tcp/{local}; echo hello >&3; head -n 1 <&3");
        let stranger = Command::new("bash").args(["-c", &script]).uid(NOBODY).output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&stranger.stdout), expected, "{options:?}");
    }
    assert_eq!(echo.accepted(), 1, "no connection was opened for the one turned away");
}

#[tokio::test]
async fn standard_streams_lead_to_the_target() {
    let (bench, echo) = (Bench::new().await, Echo::start().await);
    let mut command = bench.command(&["stdio"]);
    command.env("KLSCTUNNEL_TARGET", bench.world.blob(echo.port).await.to_string());
    let output = with_input(command, b"through the pipe").await;
    assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"through the pipe"[..], Some(0)));
}

#[tokio::test]
async fn a_command_is_run_with_the_local_port() {
    let (bench, echo) = (Bench::new().await, Echo::start().await);
    let target = format!("web-7:{}", echo.port);
    let script = "exec 3<>/dev/tcp/127.0.0.1/{port}; echo hello >&3; read line <&3; echo got $line; exit 7";
    let output =
        bench.command(&["--quiet", "run", &target, "--", "bash", "-c", script]).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "got hello\n");
    assert_eq!(output.status.code(), Some(7), "the command's own exit code");
}

#[tokio::test]
async fn what_follows_a_blob_on_standard_input_is_the_commands() {
    let (bench, echo) = (Bench::new().await, Echo::start().await);
    let command = bench.command(&["--quiet", "run", "-", "--", "bash", "-c", "cat; echo {port} >&2"]);
    let input = format!("{}\nSELECT 1;\n", bench.world.blob(echo.port).await);
    let output = with_input(command, input.as_bytes()).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "SELECT 1;\n");
}

#[tokio::test]
async fn ssh_runs_with_this_program_as_its_proxy() {
    let (bench, echo) = (Bench::new().await, Echo::start().await);
    // In place of OpenSSH: shows what it was given, then runs its ProxyCommand as ssh does, by a shell.
    let ssh = bench.folder.path().join("ssh");
    let script = "#!/bin/bash\nfor word in \"$@\"; do echo \"[$word]\"; case \"$word\" in ProxyCommand=*) \
                  proxy=\"${word#ProxyCommand=}\";; esac; done\necho piped | bash -c \"$proxy\"\nexit 42\n";
    std::fs::write(&ssh, script).unwrap();
    std::fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let target = format!("root@web-7:{}", echo.port);
    let mut command = bench.command(&["ssh", &target, "-v", "uptime"]);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", bench.folder.path().display()));
    let output = command.output().await.unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("[HostKeyAlias=web-7]\n[-l]\n[root]\n[web-7]\n[-v]\n[uptime]\n"), "{shown}");
    assert!(shown.ends_with("piped\n"), "{shown} {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(42), "ssh's own exit code");
}

#[tokio::test]
async fn events_are_json_when_asked_for() {
    let (bench, echo) = (Bench::new().await, Echo::start().await);
    let mut command = bench.command(&["--json", &format!("web-7:{}", echo.port)]).spawn().unwrap();
    let mut events = Events::of(&mut command);
    let mut local = TcpStream::connect(events.listening().await).await.unwrap();
    echoes(&mut local, b"12345").await;
    assert_eq!(events.next().await["event"], "opened");
    local.shutdown().await.unwrap();
    let closed = events.next().await;
    assert_eq!((&closed["event"], &closed["to_target"]), (&"closed".into(), &5.into()));
    assert_eq!(closed["reason"], "finished");
}

#[tokio::test]
async fn exit_codes_say_whose_fault_it_was() {
    let (bench, echo) = (Bench::new().await, Echo::start().await);
    for usage in [&[][..], &["web-7"], &["web-7:0"], &["klt1.x"], &["--json", "ssh", "web-7"]] {
        assert_eq!(bench.exit_code(usage).await, 2, "{usage:?}");
    }
    let blob = bench.world.blob(echo.port).await;
    let _session = bench.world.initiator(blob.clone()).connect().await.unwrap();
    assert_eq!(bench.exit_code(&["stdio", &blob.to_string()]).await, 3, "the blob was redeemed before");
    assert_eq!(bench.exit_code(&[&blob.to_string()]).await, 3, "and that is said before anybody connects");
    assert_eq!(bench.exit_code(&["stdio", "unknown:1"]).await, 3, "the server knows no such device");
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let nowhere = Blob { ports: vec![port], ..bench.world.blob(echo.port).await };
    assert_eq!(bench.exit_code(&["stdio", &nowhere.to_string()]).await, 4, "nobody listens there");
    assert_eq!(bench.exit_code(&["--profile", "/nonexistent", "web-7:1"]).await, 1);
}

#[tokio::test]
async fn completions_and_the_manual_page_are_printed() {
    let bench = Bench::new().await;
    for (args, expected) in [(&["completions", "bash"][..], "_klsctunnel()"), (&["man"], ".TH klsctunnel")] {
        let output = bench.command(args).output().await.unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains(expected), "{args:?}");
        assert!(output.status.success());
    }
}

/// A world, an API in front of it, and the profile of its operator.
struct Bench {
    world: std::sync::Arc<World>,
    api: Api,
    folder: TempDir,
    profile: PathBuf,
}

impl Bench {
    async fn new() -> Self {
        let world = std::sync::Arc::new(World::new().await);
        let folder = tempfile::tempdir().unwrap();
        let profile = folder.path().join("operator.profile");
        let api = Api::start(world.clone(), &profile).await;
        Self { world, api, folder, profile }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_klsctunnel"));
        command.args(args).env("KLNET_PROFILE", &self.profile).env_remove("KLSCTUNNEL_TARGET");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn exit_code(&self, args: &[&str]) -> i32 {
        self.command(args).output().await.unwrap().status.code().unwrap()
    }
}

/// What `--json` prints.
struct Events(Lines<BufReader<ChildStdout>>);

impl Events {
    fn of(command: &mut Child) -> Self {
        Self(BufReader::new(command.stdout.take().unwrap()).lines())
    }

    async fn next(&mut self) -> Value {
        serde_json::from_str(&self.0.next_line().await.unwrap().unwrap()).unwrap()
    }

    /// The address that the first of them names.
    async fn listening(&mut self) -> String {
        let listening = self.next().await;
        assert_eq!(listening["event"], "listening");
        listening["local"][0].as_str().unwrap().to_owned()
    }

    /// The next of a kind.
    async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await;
            if event["event"] == kind {
                return event;
            }
        }
    }
}

/// The address in `127.0.0.1:40321 and [::1]:40321 -> web-7:22`.
async fn first_address(command: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(command.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    line.split(' ').next().unwrap().to_owned()
}

async fn with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).await.unwrap();
    drop(stdin);
    child.wait_with_output().await.unwrap()
}

/// The user that owns nothing, on every Unix.
const NOBODY: u32 = 65534;
