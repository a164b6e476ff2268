//! The `klcast` command; see [`klnet_multicast::cli`].

fn main() -> std::process::ExitCode {
    klnet_multicast::cli::main(std::env::args_os())
}
