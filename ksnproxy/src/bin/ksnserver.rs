//! The `ksnserver` command; see [`klnet_ksnproxy::cli::server`].

fn main() -> std::process::ExitCode {
    klnet_ksnproxy::cli::server::main(std::env::args_os())
}
