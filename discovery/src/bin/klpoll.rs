//! `klpoll`: finds the devices of a network.

fn main() -> std::process::ExitCode {
    klnet_discovery::cli::main(std::env::args_os())
}
