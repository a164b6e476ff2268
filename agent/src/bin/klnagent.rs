//! The Network Agent's command; see `klnet_agent::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    klnet_agent::cli::agent_main(std::env::args_os())
}
