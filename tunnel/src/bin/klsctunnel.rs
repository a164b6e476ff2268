//! The `klsctunnel` command; see [`klnet_tunnel::cli`].

fn main() -> std::process::ExitCode {
    klnet_tunnel::cli::main(std::env::args_os())
}
