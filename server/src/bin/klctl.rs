//! The `klctl` command; see [`klnet_server::ctl`].

fn main() -> std::process::ExitCode {
    klnet_server::ctl::main(std::env::args_os())
}
