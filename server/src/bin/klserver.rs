//! `klserver`, and under their own names the commands that `klserver up` links to it.

fn main() -> std::process::ExitCode {
    klnet_server::up::links::main(std::env::args_os())
}
