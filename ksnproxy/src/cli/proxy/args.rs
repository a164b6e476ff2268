//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use klnet_wire::id::DeviceId;

/// Answers what is known of files, addresses and certificates.
#[derive(Debug, Parser)]
#[command(
    name = "ksnproxy",
    version,
    about = "Answer what is known of files, addresses and certificates, from a cache beside the devices that ask",
    after_help = EXAMPLES
)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a proxy
    Serve(ServeArgs),
    /// Ask a proxy
    Query(QueryArgs),
    /// Show what a proxy counted
    Stats(StatsArgs),
    /// Say everything that is wrong with a configuration
    CheckConfig {
        /// The configuration file
        #[arg(default_value = DEFAULT_CONFIG, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// The configuration file; it is read once, the identity that it names whenever that changes
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub(super) config: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct QueryArgs {
    /// The proxy's name or address, with its port when that is not the usual one
    #[arg(long, short, value_name = "HOST[:PORT]", default_value = "127.0.0.1")]
    pub(super) proxy: String,

    /// How to ask
    #[arg(long, value_enum, default_value_t = Via::Udp)]
    pub(super) via: Via,

    /// Where to ask for the ticket that datagrams are sealed with
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(super) tickets: Option<String>,

    /// PEM file with this device's key and certificate chain, or the state folder of its agent; without, queries are plain
    #[arg(long, short, value_name = "FILE")]
    pub(super) identity: Option<PathBuf>,

    /// The proxy is this managed device; without, it is a server of the fabric
    #[arg(long, value_name = "ID", requires = "identity")]
    pub(super) device: Option<DeviceId>,

    /// Ask this reputation server when the proxy cannot be reached or has no answer
    #[arg(long, value_name = "[DEVICE@]HOST[:PORT]", requires = "identity")]
    pub(super) fallback: Option<String>,

    /// Print one JSON object per line
    #[arg(long)]
    pub(super) json: bool,

    /// HASH[:SIZE], cert:HASH, ADDRESS[/PREFIX], domain or URL
    #[arg(required = true, value_name = "SUBJECT")]
    pub(super) subjects: Vec<String>,
}

/// A way to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Via {
    /// Datagrams
    Udp,
    /// Plain, on TCP
    Tcp,
    /// Within TLS, on the same port
    Tls,
    /// HTTPS
    Https,
}

#[derive(Debug, clap::Args)]
pub(super) struct StatsArgs {
    /// Where the proxy shows its metrics
    #[arg(long, short, value_name = "ADDRESS:PORT", default_value = DEFAULT_METRICS)]
    pub(super) metrics: SocketAddr,

    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// Where the configuration is.
pub(super) const DEFAULT_CONFIG: &str = "/etc/klnet/ksnproxy.toml";

/// Where metrics are shown: to this machine alone.
pub(super) const DEFAULT_METRICS: &str = "127.0.0.1:9465";

const EXAMPLES: &str = "\
Examples:
  ksnproxy serve --config ksnproxy.toml                    runs a proxy
  ksnproxy query 275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f
  ksnproxy query --via https http://testing.example/a.exe
  ksnproxy query --identity /var/lib/klnet/agent --proxy nas-1.lan --device 5f2c… cert:4da14224dc97e1f0c2cd9d4fd4b6f8ae2f0d1ee4
  ksnproxy query --proxy proxy.lan --identity device.pem --fallback ksn.example.org 192.0.2.7
  ksnproxy stats --json

Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 not reachable.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_fall_back_needs_an_identity() {
        let parse = |args: &[&str]| Args::try_parse_from([&["ksnproxy", "query"], args].concat());
        assert!(parse(&["a.example"]).is_ok());
        assert!(parse(&[]).is_err());
        assert!(parse(&["--fallback", "b", "a.example"]).is_err());
        assert!(parse(&["--fallback", "b", "--identity", "c", "a.example"]).is_ok());
    }
}
