//! A managed device: its state folder and its agent's process.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use klnet_agent::state::Folder;
use klnet_tests::lab::Process;
use klnet_tests::program;
use klnet_wire::identity::enroll::print_pin;
use klnet_wire::identity::tls::Identity;

use super::{PATIENCE, Stage, sound, succeeded};

pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) state: PathBuf,
    agent: Option<Process>,
}

impl Device {
    pub(super) fn enroll(
        stage: &Stage,
        name: &str,
        token: &str,
        adjust: impl FnOnce(&mut Command) -> Result<()>,
    ) -> Result<Self> {
        let state = stage.path(name);
        let mut enroll = Command::new(program("klnagent")?);
        enroll.args(["enroll", "--name", name, "--server", &stage.url()]).arg("--state").arg(&state);
        enroll.args(["--root", &print_pin(&stage.profile.trust.pin())]).env("KLNET_TOKEN", token);
        adjust(&mut enroll)?;
        succeeded(&mut enroll)?;
        Ok(Self { name: name.to_owned(), state, agent: None })
    }

    pub(crate) fn start(&mut self) -> Result<()> {
        self.start_with(|_| Ok(()))
    }

    pub(crate) fn start_with(&mut self, adjust: impl FnOnce(&mut Command) -> Result<()>) -> Result<()> {
        let mut run = Command::new(program("klnagent")?);
        run.arg("run").arg("--state").arg(&self.state);
        adjust(&mut run)?;
        if run.get_args().all(|argument| argument != "--config") {
            // The stage is on this machine, whose networks are nobody's business.
            let config = self.state.with_extension("toml");
            std::fs::write(&config, "[ports]\nneighbours = 0\n")?;
            run.arg("--config").arg(config);
        }
        self.agent = Some(Process::spawn("klnagent", &mut run)?);
        Ok(())
    }

    /// Another device with a copy of this one's disk, whose agent runs. This one's may run too: what it only writes under a
    /// temporary name may be gone when its turn comes.
    pub(crate) fn copied(&self, stage: &Stage, name: &str) -> Result<Self> {
        let state = stage.path(name);
        std::fs::create_dir(&state)?;
        for file in std::fs::read_dir(&self.state)? {
            let file = file?;
            match std::fs::copy(file.path(), state.join(file.file_name())) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                copied => drop(copied?),
            }
        }
        let mut copy = Self { name: name.to_owned(), state, agent: None };
        copy.start()?;
        Ok(copy)
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let mut agent = self.agent.take().context("the agent runs")?;
        agent.kill()?;
        sound(&agent.output()?)
    }

    /// `kill -9` once `delay` is over, in the middle of `work`, which ends by that.
    pub(crate) async fn kill_during(
        &mut self,
        delay: Duration,
        work: impl Future<Output = ()>,
    ) -> Result<()> {
        let doomed = self.agent.take().context("the agent runs")?.kill_after(delay);
        work.await;
        sound(&doomed.struck()?.output()?)
    }

    /// SIGTERM, and the end.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let mut agent = self.agent.take().context("the agent runs")?;
        agent.terminate(PATIENCE)?;
        sound(&agent.output()?)
    }

    pub(crate) fn agent(&mut self) -> &mut Process {
        self.agent.as_mut().expect("the agent runs")
    }

    pub(crate) const fn runs(&self) -> bool {
        self.agent.is_some()
    }

    /// Waits until the agent logs a line with `text`.
    pub(crate) fn wait_for_log(&mut self, text: &str) -> Result<()> {
        self.agent().wait_for_line(text, PATIENCE).map(drop)
    }

    pub(crate) fn agent_id(&self) -> u32 {
        self.agent.as_ref().expect("the agent runs").id()
    }

    pub(crate) fn log(&self) -> String {
        self.agent.as_ref().and_then(|agent| agent.output().ok()).unwrap_or_default()
    }

    /// The device's certificate and key, as a thief of its disk would have them.
    pub(crate) fn identity(&self) -> Result<Identity> {
        Ok(Folder::new(&self.state).device()?.identity)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if !std::thread::panicking()
            && let Err(error) = sound(&self.log())
        {
            panic!("{error}");
        }
    }
}
