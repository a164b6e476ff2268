//! The `ksnproxy` command; see [`klnet_ksnproxy::cli::proxy`].

fn main() -> std::process::ExitCode {
    klnet_ksnproxy::cli::proxy::main(std::env::args_os())
}
