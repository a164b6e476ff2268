//! nginx as a cache that lets one of many ask, on HTTP and HTTPS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use klnet_wire::identity::pem::identity_to_pem;
use klnet_wire::identity::secret_file::write_secret;
use klnet_wire::identity::tls::Identity;

use super::origin::{BODY, Origin};
use super::pipeline::Dialect;
use super::rig::Rig;
use crate::fleet::PATIENCE;
use crate::lab::Process;

/// It runs, with a server behind it.
pub(super) struct Nginx {
    pub(super) process: Process,
    pub(super) origin: Origin,
    /// Bytes of each answer.
    length: usize,
}

impl Nginx {
    /// Starts it on the servers' core, with one worker.
    pub(super) fn start(rig: &Rig, identity: &Identity) -> Result<Self> {
        let origin = Origin::start(rig)?;
        let (config, pem) = (rig.path("nginx.conf"), rig.path("nginx.pem"));
        write_secret(&pem, identity_to_pem(identity).as_bytes())?;
        let settings = format!(
            "daemon off;\nuser root;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log stderr;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  open_file_cache max=10000;\n  \
             ssl_certificate {pem:?};\n  ssl_certificate_key {pem:?};\n  ssl_protocols TLSv1.3;\n  \
             ssl_session_tickets off;\n  proxy_cache_path {folder}/cache keys_zone=verdicts:10m;\n  \
             server {{\n    listen {address}:{PORT} backlog=4096;\n    \
             listen {address}:{TLS} ssl http2;\n    location / {{\n      \
             proxy_pass http://{origin};\n      proxy_cache verdicts;\n      proxy_cache_valid 200 1h;\n      \
             proxy_cache_lock on;\n    }}\n  }}\n}}\n",
            folder = rig.folder().display(),
            address = rig.address(),
            origin = origin.address,
        );
        std::fs::write(&config, settings)?;
        let mut command = Command::new("/usr/sbin/nginx");
        command.args(["-e", "stderr", "-c"]).arg(config);
        let process = rig.core().spawn("nginx", command)?;
        rig.server.wait_for_listener(PORT, PATIENCE)?;
        let length = rig.ask(|| length(rig))?;
        Ok(Self { process, origin, length })
    }

    pub(super) fn dialect(&self) -> Box<dyn Dialect> {
        Box::new(Http { length: self.length })
    }
}

/// GET, whose answers all have the same length: the date has.
struct Http {
    length: usize,
}

impl Dialect for Http {
    fn ask(&mut self, key: u32, output: &mut Vec<u8>) {
        output.extend(request(&key.to_string()).into_bytes());
    }

    fn length(&self) -> usize {
        self.length
    }

    fn is_answer(&self, answer: &[u8]) -> bool {
        answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(BODY.as_bytes())
    }
}

/// Asks once, and says how long the answer is: it comes in one piece.
fn length(rig: &Rig) -> Result<usize> {
    let mut stream = TcpStream::connect(rig.at(PORT))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request("first").as_bytes())?;
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).context("nginx says nothing")?;
    ensure!(Http { length }.is_answer(&answer[..length]), "{}", String::from_utf8_lossy(&answer[..length]));
    Ok(length)
}

fn request(path: &str) -> String {
    format!("GET /{path} HTTP/1.1\r\nHost: verdicts\r\n\r\n")
}

pub(super) const PORT: u16 = 8080;
pub(super) const TLS: u16 = 8443;
