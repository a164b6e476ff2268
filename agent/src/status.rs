//! What the running agent is doing, in a file that everybody on the device may read.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::distribution::Shown;
use crate::neighbours::Neighbour;
use crate::state::{Folder, write_public};
use crate::unix::unix_now;

/// The file's content; times are Unix seconds by the device's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's process.
    pub pid: u32,
    /// Version of its program.
    pub build: String,
    /// When it started.
    pub started: u64,
    /// The device's identifier.
    pub device: String,
    /// How it stands with its server.
    pub connection: Connection,
    /// Since when.
    pub since: u64,
    /// Why there was no connection last time; stays after the next one is made.
    pub last_error: Option<LastError>,
    /// The device's clock minus the server's, in seconds, when last compared.
    pub clock_skew: Option<i64>,
    /// Tunnel connections carried now.
    pub tunnel_connections: usize,
    /// What is distributed to it, and by it.
    #[serde(default)]
    pub distribution: Shown,
    /// Other agents of its networks.
    #[serde(default)]
    pub neighbours: Vec<Neighbour>,
}

/// How an agent stands with its server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Connection {
    /// Looks for a server.
    Connecting,
    /// Has a session.
    Connected {
        /// Host and port as they were dialled.
        server: String,
        /// The address they led to.
        address: String,
        /// Names the session.
        epoch: u64,
        /// Milliseconds between heartbeats.
        heartbeat_ms: u64,
        /// Milliseconds the last heartbeat took to be answered.
        round_trip_ms: Option<u64>,
    },
    /// Waits for its next try.
    Waiting {
        /// Seconds until then.
        seconds: u64,
    },
    /// Its key is in a token that does not sign now; waits for its next try.
    Keyless {
        /// Seconds until then.
        seconds: u64,
    },
    /// The server has asked it never to come back.
    Banned {
        /// What the server said.
        reason: String,
    },
    /// It was stopped in order.
    Stopped,
}

/// Why there was no connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When.
    pub at: u64,
    /// In plain words.
    pub text: String,
}

/// The file, and what is in it.
#[derive(Debug)]
pub struct StatusFile {
    path: PathBuf,
    status: Status,
    /// When a change that can wait is written.
    due: Option<Instant>,
}

impl Status {
    /// Reads what the agent that uses `folder`, or the last that did, has written; `None` when there is nothing.
    pub fn read(folder: &Folder) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path(folder)).ok()?).ok()
    }
}

impl Connection {
    const fn is_outage(&self) -> bool {
        matches!(self, Self::Connecting | Self::Waiting { .. } | Self::Keyless { .. })
    }
}

impl StatusFile {
    /// Begins the file of an agent that has just started as `device`.
    pub fn create(folder: &Folder, device: String) -> Self {
        let now = unix_now();
        let status = Status {
            pid: std::process::id(),
            build: BUILD.to_owned(),
            started: now,
            device,
            connection: Connection::Connecting,
            since: now,
            last_error: None,
            clock_skew: None,
            tunnel_connections: 0,
            distribution: Shown::default(),
            neighbours: Vec::new(),
        };
        let mut file = Self { path: path(folder), status, due: None };
        file.write();
        file
    }

    /// Tells that the agent looks for a server. One without its key is that, until it has a session or fails otherwise.
    pub fn connecting(&mut self) {
        if !matches!(self.status.connection, Connection::Keyless { .. }) {
            self.connection(Connection::Connecting);
        }
    }

    /// Tells how the agent stands with its server from now on.
    pub fn connection(&mut self, connection: Connection) {
        // Trying and waiting in turn is one outage, which began with the first of them.
        if !(self.status.connection.is_outage() && connection.is_outage()) {
            self.status.since = unix_now();
        }
        self.status.connection = connection;
        self.write();
    }

    /// Tells why there is no connection, and in how long the agent tries again.
    pub fn failed(&mut self, text: String, wait: Duration) {
        self.status.last_error = Some(LastError { at: unix_now(), text });
        self.connection(Connection::Waiting { seconds: wait.as_secs() });
    }

    /// Tells why the device's key cannot be used, and in how long the agent tries again.
    pub fn keyless(&mut self, text: String, wait: Duration) {
        self.status.last_error = Some(LastError { at: unix_now(), text });
        self.connection(Connection::Keyless { seconds: wait.as_secs() });
    }

    /// Tells how far this clock is from the server's.
    pub fn clock_skew(&mut self, seconds: i64) {
        self.status.clock_skew = Some(seconds);
        self.write();
    }

    /// Tells how long a heartbeat took.
    pub fn round_trip(&mut self, took: Duration) {
        if let Connection::Connected { round_trip_ms, .. } = &mut self.status.connection {
            *round_trip_ms = u64::try_from(took.as_millis()).ok();
            self.write();
        }
    }

    /// Tells how many tunnel connections are carried. Many come and go in a second, and each would wait for a file that
    /// nobody reads meanwhile: what has changed is written within a second.
    pub fn tunnel_connections(&mut self, now: Instant, count: usize) {
        if self.status.tunnel_connections != count {
            self.status.tunnel_connections = count;
            self.due.get_or_insert(now + WRITE_WAIT);
        }
    }

    /// Tells how distribution stands.
    pub fn distribution(&mut self, shown: Shown) {
        self.status.distribution = shown;
        self.write();
    }

    /// Tells who is in the device's networks.
    pub fn neighbours(&mut self, neighbours: Vec<Neighbour>) {
        self.status.neighbours = neighbours;
        self.write();
    }

    /// Writes what has waited long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.due.is_some_and(|due| now >= due) {
            self.write();
        }
    }

    /// When to call [`StatusFile::handle_timeout`] at the latest.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Nothing depends on this file but people, so a full disk stops nothing.
    fn write(&mut self) {
        self.due = None;
        let text = serde_json::to_vec_pretty(&self.status).map_err(io::Error::from);
        if let Err(error) = text.and_then(|text| write_public(&self.path, &text)) {
            tracing::debug!(%error, "the status file is not written");
        }
    }
}

fn path(folder: &Folder) -> PathBuf {
    folder.path().join("status.json")
}

/// How long the number of tunnel connections may be out of date: a person who looks twice sees it change.
const WRITE_WAIT: Duration = Duration::from_secs(1);

/// The version told to servers and in the status.
pub const BUILD: &str = env!("CARGO_PKG_VERSION");
