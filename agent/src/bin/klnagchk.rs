//! Says in plain words why an agent does not connect; see `klnet_agent::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    klnet_agent::cli::check_main(std::env::args_os())
}
