//! The target's decisions: which grants it takes, whose connections it verifies, what it dials.

mod config;
mod input;
mod output;

use std::collections::VecDeque;
use std::time::Instant;

pub use config::{Config, DIAL_WAIT, GO_WAIT, Limits, RESOLVE_WAIT, SPARE_LIFE};
pub use input::Input;
pub use output::Output;

/// The agent's side of every tunnel to one device.
#[derive(Debug)]
pub struct Target {
    config: Config,
    outputs: VecDeque<Output>,
}

impl Target {
    /// Makes a target without grants that has never been connected.
    pub fn new(config: Config) -> Self {
        Self { config, outputs: VecDeque::new() }
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        let _ = (now, input, &self.config);
    }

    /// Ends everything whose time is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Target::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}
