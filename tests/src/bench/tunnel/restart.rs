//! A whole fleet that comes back after its server was restarted.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use klnet_agent::agent::Agent;
use klnet_agent::config::{Config, Ports};
use klnet_agent::state::Folder;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Bench;
use crate::bench::place::Place;
use crate::bench::server::{Server, block_on};
use crate::bench::{Better, Report, Samples, Subject, measure_each};
use crate::fleet::PATIENCE;
use crate::lab::{Host, Lab, Switch, cpu_time, wait_until};

/// How long it takes until every agent has a session again, and what that costs the server.
pub(super) fn fleet(bench: &Bench, lab: &Lab) -> Result<Report> {
    let mut fleet = Fleet::gather(lab, bench.effort.agents)?;
    let whats = [
        format!("{} agents after a restart, window 2 s: all back after (aim < 5)", fleet.agents),
        format!("{} agents after a restart, window 2 s: the server meanwhile (aim <= 0.5)", fleet.agents),
    ];
    let subjects = [
        Subject { what: &whats[0], unit: "s", better: Better::Lower },
        Subject { what: &whats[1], unit: "cores", better: Better::Lower },
    ];
    let rows = measure_each(&bench.options, subjects, ("klserver", || bench.quiet.run(|| fleet.restart())))?;
    let note = "Restart: time counts from the moment the ports are served again; the agents are real, in one process, \
                100 behind each address, and use the same cores.";
    Ok(Report { rows, notes: vec![note.to_owned()] })
}

/// A server and its agents, all of them real; those of a site are behind one address.
struct Fleet {
    server: Server,
    host: Host,
    agents: usize,
    _running: DropGuard,
    _internet: Switch,
}

impl Fleet {
    /// Enrols so many devices and waits until each has a session.
    fn gather(lab: &Lab, agents: usize) -> Result<Self> {
        let internet = lab.switch("internet")?;
        let host = internet.host("server")?;
        let server = Server::start(&Place::anywhere(&host), host.address(), WINDOW)?;
        let stop = CancellationToken::new();
        for first in (0..agents).step_by(AGENTS_OF_SITE) {
            let names = first..agents.min(first + AGENTS_OF_SITE);
            open_site(&internet, &server, names.map(|number| format!("device-{number}")).collect(), &stop)?;
        }
        let fleet = Self { server, host, agents, _running: stop.drop_guard(), _internet: internet };
        fleet.wait_for_all()?;
        Ok(fleet)
    }

    /// Seconds from the moment the server serves again until all agents are back, and the cores it used meanwhile.
    fn restart(&mut self) -> Result<Samples<2>> {
        self.server.stop()?;
        self.server.start_again()?;
        let (begun, process) = (Instant::now(), self.server.process.id());
        let before = cpu_time(process)?;
        self.wait_for_all()?;
        let (took, cpu) = (begun.elapsed().as_secs_f64(), cpu_time(process)?.saturating_sub(before));
        Ok(Samples { figures: [took, cpu.as_secs_f64() / took], cpu })
    }

    fn wait_for_all(&self) -> Result<()> {
        let all = || Ok((self.host.inside(sessions)?? == self.agents).then_some(()));
        wait_until(RETURN_LIMIT, all)?.with_context(|| format!("not all are back after {RETURN_LIMIT:?}"))
    }
}

/// Enrols the devices of a site, and runs an agent for each from then on.
fn open_site(internet: &Switch, server: &Server, names: Vec<String>, stop: &CancellationToken) -> Result<()> {
    let host = internet.host(&format!("site-{}", names.first().context("a site has devices")?))?;
    let token = server.token(names.len())?;
    let folders = names.iter().map(|name| server.device_folder(name)).collect::<Result<Vec<_>>>()?;
    host.inside(|| {
        block_on(async {
            for (folder, name) in folders.iter().zip(&names) {
                server.enroll_with(folder, name, token.clone()).await?;
            }
            Ok(())
        })
    })??;
    let stop = stop.clone();
    std::thread::spawn(move || {
        let ran = host.inside(|| block_on(run_agents(&folders, &stop)));
        if let Err(error) = ran.and_then(|ran| ran) {
            eprintln!("a site stops: {error:#}");
        }
    });
    Ok(())
}

async fn run_agents(folders: &[Folder], stop: &CancellationToken) -> Result<()> {
    let mut agents = JoinSet::new();
    for folder in folders {
        let ports = Ports { neighbours: 0, ..Ports::default() };
        let config = Config { state: folder.path().to_owned(), ports, ..Config::default() };
        agents.spawn(Agent::open(&config)?.run(stop.clone()));
    }
    while let Some(ended) = agents.join_next().await {
        ended??;
    }
    Ok(())
}

/// The sessions a server on this machine has, by its own metrics.
fn sessions() -> Result<usize> {
    let mut stream = TcpStream::connect(Server::metrics())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let line = text.lines().find_map(|line| line.strip_prefix("klserver_sessions "));
    let sessions = line.context("the server does not count its sessions")?;
    Ok(sessions.trim().parse()?)
}

/// The default, said aloud because the rows name it.
const WINDOW: &str = "reconnect_window = \"2s\"";
/// As many as may enrol from one address at once.
const AGENTS_OF_SITE: usize = 100;
const RETURN_LIMIT: Duration = Duration::from_secs(120);
