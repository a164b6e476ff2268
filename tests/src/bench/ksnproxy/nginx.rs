//! nginx as a cache that lets one of many ask.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::origin::Origin;
use super::pipeline::Dialect;
use super::rig::Rig;
use crate::fleet::PATIENCE;
use crate::lab::Process;

/// It runs, with a slow server behind it.
pub(super) struct Nginx {
    pub(super) process: Process,
    pub(super) origin: Origin,
    /// Bytes of each answer.
    length: usize,
}

impl Nginx {
    /// Starts it on the servers' core, with one worker.
    pub(super) fn start(rig: &Rig) -> Result<Self> {
        let origin = Origin::start(rig)?;
        let config = rig.path("nginx.conf");
        let settings = format!(
            "daemon off;\nuser root;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log stderr;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n  access_log off;\n  proxy_cache_path {folder}/cache keys_zone=verdicts:10m;\n  \
             server {{\n    listen {address}:{PORT} backlog=4096;\n    location / {{\n      \
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
        answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(b"\r\n\r\n0123456789abcdef")
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
