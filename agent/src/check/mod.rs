//! Why does the agent not connect? Every step of the way, tried in order, in plain words.

mod reach;
mod words;

use std::sync::Arc;
use std::time::SystemTime;

use klnet_wire::identity::tls::{ALPN_AGENT, ALPN_HTTP, client_config};
use klnet_wire::net::https::Client;
use rustls::ClientConfig;
use serde::Serialize;
use serde_json::Value;

use crate::clock::{self, Skew, measure};
use crate::control;
use crate::directory::{Candidate, Directory};
use crate::discovery;
use crate::random::Random;
use crate::state::{Device, Folder};
use crate::status::{Connection, Status};
use crate::unix::unix_now;

/// Every step, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// See [`Step`].
    pub steps: Vec<Step>,
}

/// One thing that must work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What was tried.
    pub name: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// It works.
    Ok {
        /// What was found.
        detail: String,
    },
    /// It does not work.
    Failed {
        /// Why, in plain words.
        why: String,
        /// What to do about it.
        advice: String,
    },
    /// An earlier step is needed for it.
    Skipped,
}

impl Report {
    /// Whether every step that was tried works.
    pub fn is_ok(&self) -> bool {
        self.steps.iter().all(|step| matches!(step.outcome, Outcome::Ok { .. }))
    }
}

/// Tries every step with the identity in `folder`. Opens no session, so a running agent keeps its own.
pub async fn run(folder: &Folder) -> Report {
    let mut checkup = Checkup { folder, steps: Vec::new(), skew: None };
    match folder.device() {
        Ok(device) => checkup.of_device(&device).await,
        Err(error) => {
            checkup.failed("identity", words::of_state(&error));
            AFTER_IDENTITY.iter().for_each(|name| checkup.step(name, Outcome::Skipped));
        }
    }
    checkup.agent();
    Report { steps: checkup.steps }
}

/// Why something fails, and what to do.
type Trouble = (String, String);

struct Checkup<'a> {
    folder: &'a Folder,
    steps: Vec<Step>,
    skew: Option<Skew>,
}

impl Checkup<'_> {
    async fn of_device(&mut self, device: &Device) {
        let server = device.host_and_port();
        let id = device.principal.id::<()>();
        self.ok(
            "identity",
            format!("device {id} of tenant {}, enrolled at {}", device.principal.tenant, device.server),
        );
        let usable = self.key(device);
        self.clock(device, &server).await;
        let anonymous = client_config(None, device.trust.clone(), &[ALPN_HTTP]);
        let https = self.place("https", &[server], anonymous.ok()).await;
        let directory = self.discovery(device, https.is_some()).await;
        let own = client_config(Some(&device.identity), device.trust.clone(), &[ALPN_AGENT]);
        let candidates = self.candidates(&directory);
        let reached = self.place("control", &candidates, own.ok().filter(|_| usable)).await;
        self.standing(device, usable && https.is_some()).await;
        drop(reached);
    }

    /// Whether the private key can be used.
    fn key(&mut self, device: &Device) -> bool {
        let key = &device.identity.key;
        match (key.ready(), key.object_uri()) {
            (Err(error), _) => {
                self.failed("key", words::of_key(&error));
                return false;
            }
            (Ok(()), Some(uri)) => self.ok("key", format!("in a token, which it cannot leave: {uri}")),
            (Ok(()), None) if self.folder.keys().are_in_token() => {
                self.ok("key", "in device.key still: device_key is for the next enrolment".into());
            }
            (Ok(()), None) => self.ok("key", "in device.key, which nobody but its owner may read".into()),
        }
        true
    }

    /// The clock beside the server's, which is asked over a connection whose certificates may fail by time.
    async fn clock(&mut self, device: &Device, server: &Candidate) {
        self.skew = measure::skew(&server.host, server.port, &device.trust).await.ok();
        let own = clock::own_certificate(device, SystemTime::now());
        let outcome = match (own, self.skew) {
            (Err(error), skew) => failed(words::of_time("this device's certificate", &error, skew)),
            (Ok(()), Some(skew)) if skew.is_wrong() => {
                ok(format!("{skew}: set it, before certificates fail by it"))
            }
            (Ok(()), Some(skew)) => ok(skew.to_string()),
            (Ok(()), None) => {
                ok("this device's certificate is within its time; the server's clock is not known".into())
            }
        };
        self.step("clock", outcome);
    }

    /// Name, TCP, TLS and certificate of the first candidate that works, or of the last that does not.
    async fn place(
        &mut self,
        place: &str,
        candidates: &[Candidate],
        tls: Option<Arc<ClientConfig>>,
    ) -> Option<Candidate> {
        let mut last = [const { Outcome::Skipped }; 4];
        let mut reached = None;
        for candidate in candidates {
            let Some(tls) = &tls else { break };
            let result = control::dial(std::slice::from_ref(candidate), tls).await;
            last = reach::outcomes(candidate, &result, self.skew);
            if let Ok(dialled) = result {
                if let Err(trouble) = reach::stays_open(dialled).await {
                    last[3] = failed(trouble);
                    continue;
                }
                reached = Some(candidate.clone());
                break;
            }
        }
        for (part, outcome) in reach::PARTS.iter().zip(last) {
            self.step(&format!("{place} {part}"), outcome);
        }
        reached
    }

    /// What the service says, verified; what is stored stays as it is.
    async fn discovery(&mut self, device: &Device, reached: bool) -> Option<Directory> {
        let mut directory = match self.folder.directory(device) {
            Ok(directory) => directory,
            Err(error) => {
                self.failed("discovery", words::of_state(&error));
                return None;
            }
        };
        if !reached {
            self.step("discovery", Outcome::Skipped);
            return Some(directory);
        }
        let crls = Arc::new(self.folder.crls(&directory.issuers()));
        let asked = match discovery::client(device, &crls) {
            Ok(client) => discovery::ask(&client).await,
            Err(error) => Err(error.into()),
        };
        let asked = asked.and_then(|discovered| {
            let _ = directory.take_keys(&discovered.keys)?;
            let _ = directory.take_servers(&discovered.servers, unix_now())?;
            Ok(())
        });
        match asked {
            Ok(()) => {
                let servers = directory.servers().map_or(0, |list| list.servers.len());
                let version = directory.key_version();
                self.ok(
                    "discovery",
                    format!("signed key set of version {version}, signed list of {servers} servers"),
                );
            }
            Err(error) => self.failed("discovery", words::of_discovery(&error)),
        }
        Some(directory)
    }

    /// Where the agent is, or would go: the server of a running agent comes first.
    fn candidates(&self, directory: &Option<Directory>) -> Vec<Candidate> {
        let mut random = Random::new(u64::from(std::process::id()));
        let mut candidates =
            directory.as_ref().map(|directory| directory.candidates(&mut random)).unwrap_or_default();
        if let Some(Status { connection: Connection::Connected { server, .. }, .. }) =
            Status::read(self.folder)
        {
            candidates.sort_by_key(|candidate| {
                candidate.host != server.rsplit_once(':').map_or("", |(host, _)| host)
            });
        }
        candidates
    }

    /// Whether the server knows the device and lets it in.
    async fn standing(&mut self, device: &Device, reached: bool) {
        if !reached {
            return self.step("standing", Outcome::Skipped);
        }
        let answer = match Client::with_identity(&device.server, &device.identity, device.trust.clone()) {
            Ok(client) => client.get::<Value>(STANDING).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) => {
                let text = |key| answer.get(key).and_then(Value::as_str);
                let group = text("group").map_or(String::new(), |group| format!(" in group {group}"));
                let name = text("name").unwrap_or("this device");
                self.ok("standing", format!("the server knows {name}{group} and lets it in"));
            }
            Err(error) => self.failed("standing", words::of_refusal(&error)),
        }
    }

    /// What the running agent says of itself.
    fn agent(&mut self) {
        let status = Status::read(self.folder);
        let outcome = match (self.folder.is_locked(), status) {
            (Err(error), _) => failed(words::of_state(&error)),
            (Ok(true), Some(Status { connection: Connection::Connected { server, .. }, .. })) => {
                ok(format!("klnagent runs and is connected to {server}"))
            }
            (Ok(running), status) => failed(words::of_agent(running, status.as_ref())),
        };
        self.step("agent", outcome);
    }

    fn ok(&mut self, name: &str, detail: String) {
        self.step(name, ok(detail));
    }

    fn failed(&mut self, name: &str, trouble: Trouble) {
        self.step(name, failed(trouble));
    }

    fn step(&mut self, name: &str, outcome: Outcome) {
        self.steps.push(Step { name: name.to_owned(), outcome });
    }
}

const fn ok(detail: String) -> Outcome {
    Outcome::Ok { detail }
}

fn failed((why, advice): Trouble) -> Outcome {
    Outcome::Failed { why, advice }
}

/// Where an agent asks how it stands; needs its certificate.
pub const STANDING: &str = "/api/v1/agent/standing";

/// What cannot be tried without an identity.
const AFTER_IDENTITY: [&str; 12] = [
    "key",
    "clock",
    "https DNS",
    "https TCP",
    "https TLS",
    "https certificate",
    "discovery",
    "control DNS",
    "control TCP",
    "control TLS",
    "control certificate",
    "standing",
];
