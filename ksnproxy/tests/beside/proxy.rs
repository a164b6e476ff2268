//! `ksnproxy serve`, as a process whose log is read.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use klnet_ksnproxy::net::client::{Datagrams, Secure};
use klnet_ksnproxy::subject::{Digest, Key, Subject};
use klnet_wire::id::DeviceId;
use klnet_wire::identity::tls::{Identity, device_config};
use klnet_wire::identity::{Principal, Trust};
use klnet_wire::net::dial::dial;

/// A proxy that runs.
pub(crate) struct Proxy {
    process: Child,
    lines: Receiver<String>,
    tcp: u16,
    udp: u16,
    /// The device whose folder it reads.
    device: DeviceId,
}

impl Proxy {
    /// Starts one with the identity in `folder`.
    pub(crate) fn start(folder: &Path, identity: &Identity) -> Self {
        let config = folder.join("ksnproxy.toml");
        let text = format!(
            "listen = \"127.0.0.1\"\ntcp_port = 0\nudp_port = 0\nhttps_port = 0\nmetrics = \"\"\nworkers = 1\n\
             identity = {folder:?}\n[limits]\nkeys_per_second = 0\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ksnproxy"));
        let mut process =
            command.args(["serve", "--config"]).arg(config).stderr(Stdio::piped()).spawn().unwrap();
        let (said, lines) = channel();
        let log = BufReader::new(process.stderr.take().unwrap());
        std::thread::spawn(move || log.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
        let device = Principal::named_in(&identity.chain[0]).unwrap().id();
        let mut proxy = Self { process, lines, tcp: 0, udp: 0, device };
        let up = proxy.until_said("proxy is up");
        (proxy.tcp, proxy.udp) = (port(&up, "tcp="), port(&up, "udp="));
        proxy
    }

    /// The next line of the log with this text.
    pub(crate) fn until_said(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("it does not say {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// A connection of a device, when it is let in. In TLS 1.3 a client hears only from the first answer whether it is.
    pub(crate) async fn connect(&self, device: &Identity, trust: &Trust) -> Option<Secure> {
        let tls = device_config(device, trust.clone(), None, self.device, &[]).unwrap();
        let mut secure = Secure::with_tls("127.0.0.1", self.tcp, tls).await.ok()?;
        secure.query(&[key()]).await.ok()?;
        Some(secure)
    }

    pub(crate) async fn is_let_in(&self, device: &Identity, trust: &Trust) -> bool {
        self.connect(device, trust).await.is_some()
    }

    /// Datagrams under a ticket of this connection.
    pub(crate) async fn datagrams(&self, secure: &mut Secure) -> Datagrams {
        let ticket = secure.ticket().await.unwrap();
        Datagrams::connect("127.0.0.1", self.udp, Some(ticket)).await.unwrap()
    }

    /// The serial number of the certificate that it shows.
    pub(crate) async fn shown(&self, device: &Identity, trust: &Trust) -> Option<Vec<u8>> {
        let tls = device_config(device, trust.clone(), None, self.device, &[]).unwrap();
        let (stream, _) = dial("127.0.0.1", self.tcp, tls).await.ok()?;
        let leaf = stream.get_ref().1.peer_certificates()?.first()?.clone();
        Some(Principal::named_in(&leaf)?.serial)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Something to ask about.
pub(crate) fn key() -> Key {
    Subject::File(Digest::Md5([1; 16]), None).key()
}

fn port(line: &str, name: &str) -> u16 {
    let address = line.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap();
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Nothing here takes as long on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(60);
