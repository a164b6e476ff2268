//! Moves an agent to another server; see `klnet_agent::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    klnet_agent::cli::mover_main(std::env::args_os())
}
