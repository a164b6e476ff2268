//! The command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::interval::Interval;
use super::show::Show;
use crate::net;
use crate::profile;
use crate::range::Range;

/// Finds the devices of a network.
#[derive(Debug, Parser)]
#[command(
    name = "klpoll",
    version,
    about = "Find the devices of a network, fast, gently and without mistakes",
    after_help = EXAMPLES
)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Ask every address of the ranges
    Range(RangeArgs),
    /// Listen to what devices of the link announce (mDNS, DNS-SD), and ask all that speak IPv6 (echo to ff02::1)
    Zeroconf(ZeroconfArgs),
    /// Ask for the names and versions of Windows machines and Samba servers; sends no password
    Windows(WindowsArgs),
    /// Read the computers of a directory, over TLS alone: Active Directory, FreeIPA, or hosts of RFC 2307
    Directory(DirectoryArgs),
    /// Ask in every way, one after another, and show everything about each host
    All(AllArgs),
    /// Poll at intervals, and print what changes
    Watch(WatchArgs),
    /// Print a completion script
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page
    Man,
}

/// What goes with `range`.
#[derive(Debug, clap::Args)]
pub(super) struct RangeArgs {
    /// Ranges: 10.1.0.0/16, 10.1.0.0/255.255.0.0, 10.2.0.10-10.2.0.99, or one address
    #[arg(required = true, value_name = "RANGE")]
    pub(super) ranges: Vec<Range>,

    /// Never ask these addresses
    #[arg(long, value_name = "RANGE")]
    pub(super) exclude: Vec<Range>,

    /// How much to ask of the network
    #[arg(long, value_enum, default_value_t)]
    pub(super) profile: Profile,

    /// Also ask hosts behind routers at these TCP ports when they do not answer ping
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) tcp: Vec<u16>,

    /// Whose names to ask the name server for
    #[arg(long, value_enum, default_value_t)]
    pub(super) names: Names,

    /// The name server to ask [default: that of this machine]
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = name_server)]
    pub(super) dns: Option<SocketAddr>,

    /// Use nothing that needs privileges
    #[arg(long)]
    pub(super) unprivileged: bool,

    /// Poll more than a /16
    #[arg(long, short)]
    pub(super) yes: bool,

    #[command(flatten)]
    pub(super) show: Show,
}

/// What goes with `zeroconf`.
#[derive(Debug, clap::Args)]
pub(super) struct ZeroconfArgs {
    /// Listen on the interface with this address [default: that of the default route]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) from: Option<Ipv4Addr>,

    /// How long to listen, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub(super) wait: u16,

    /// End as soon as all that was announced is resolved and nothing new has come for half a second; in silence, after
    /// a second and a half
    #[arg(long)]
    pub(super) brief: bool,

    #[command(flatten)]
    pub(super) show: Show,
}

/// What goes with `windows`.
#[derive(Debug, clap::Args)]
pub(super) struct WindowsArgs {
    /// Ranges, as with `klpoll range`
    #[arg(required = true, value_name = "RANGE")]
    pub(super) ranges: Vec<Range>,

    /// Never ask these addresses
    #[arg(long, value_name = "RANGE")]
    pub(super) exclude: Vec<Range>,

    /// Poll the ranges first, and ask every host that is there for names and build by SMB
    #[arg(long)]
    pub(super) full: bool,

    /// How much to ask of the network
    #[arg(long, value_enum, default_value_t)]
    pub(super) profile: Profile,

    /// Poll more than a /16
    #[arg(long, short)]
    pub(super) yes: bool,

    #[command(flatten)]
    pub(super) show: Show,
}

/// What goes with `all`, and with `watch`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Everything {
    /// Ranges, as with `klpoll range`
    #[arg(required = true, value_name = "RANGE")]
    pub(super) ranges: Vec<Range>,

    /// Never ask these addresses
    #[arg(long, value_name = "RANGE")]
    pub(super) exclude: Vec<Range>,

    /// How much to ask of the network
    #[arg(long, value_enum, default_value_t)]
    pub(super) profile: Profile,

    /// Listen on the interface with this address [default: those of the ranges, or that of the default route]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) from: Option<Ipv4Addr>,

    /// Also read this directory, as with `klpoll directory`
    #[arg(long, value_name = "URL|DOMAIN")]
    pub(super) directory: Option<net::Directory>,

    #[command(flatten)]
    pub(super) login: Login,

    /// Poll more than a /16
    #[arg(long, short)]
    pub(super) yes: bool,
}

/// What goes with `all`.
#[derive(Debug, clap::Args)]
pub(super) struct AllArgs {
    #[command(flatten)]
    pub(super) everything: Everything,

    #[command(flatten)]
    pub(super) show: Show,
}

/// What goes with `watch`.
#[derive(Debug, clap::Args)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    pub(super) everything: Everything,

    /// How often to poll, such as range=8h or windows=never [default: range=7h windows=15m full=1h zeroconf=15m
    /// directory=1h]
    #[arg(long, value_name = "KIND=TIME")]
    pub(super) every: Vec<Interval>,

    /// Print one JSON object per line for every change
    #[arg(long)]
    pub(super) json: bool,

    /// Print no advice
    #[arg(long, short)]
    pub(super) quiet: bool,
}

/// How to enter a directory.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Login {
    /// The name server that knows the controllers of a domain [default: that of this machine]
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = name_server)]
    pub(super) dns: Option<SocketAddr>,

    /// Begin TLS at once with controllers of a domain [default: by StartTLS, at the port that DNS names]
    #[arg(long)]
    pub(super) ldaps: bool,

    /// Look below this name [default: the server's own]
    #[arg(long, value_name = "NAME")]
    pub(super) base: Option<String>,

    /// Read as this account [default: as nobody]
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub(super) bind: Option<String>,

    /// The password of the account is in this file
    #[arg(long, value_name = "FILE", requires = "bind")]
    pub(super) password_file: Option<PathBuf>,

    /// Trust the certificates of this file alone [default: those that this machine trusts]
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
}

/// What goes with `directory`.
#[derive(Debug, clap::Args)]
pub(super) struct DirectoryArgs {
    /// The server: ldaps://dc1.example.org, or ldap://dc1.example.org, where TLS begins with StartTLS; or the domain,
    /// example.org, whose controllers DNS names
    #[arg(value_name = "URL|DOMAIN")]
    pub(super) directory: net::Directory,

    #[command(flatten)]
    pub(super) login: Login,

    /// Read what was changed since the last time, which this file tells; deleted accounts are missed by that
    #[arg(long, value_name = "FILE")]
    pub(super) since: Option<PathBuf>,

    #[command(flatten)]
    pub(super) show: Show,
}

/// The names of profiles on the command line.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum Profile {
    /// At most 63 packets in 250 ms: for weak switches
    Gentle,
    /// At most 20 packets in 10 ms: for any network
    #[default]
    Polite,
    /// At most 20,000 packets a second
    Lan,
    /// As fast as this machine sends
    Max,
}

/// Whose names to ask for.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum Names {
    /// Nobody's
    None,
    /// Those of hosts that answered
    #[default]
    Alive,
    /// Those of every address
    All,
}

impl ZeroconfArgs {
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(self.wait.into())
    }

    pub(super) fn lull(&self) -> Option<Duration> {
        self.brief.then_some(LULL)
    }
}

impl From<Profile> for profile::Profile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Gentle => Self::Gentle,
            Profile::Polite => Self::Polite,
            Profile::Lan => Self::Lan,
            Profile::Max => Self::Max,
        }
    }
}

impl From<Names> for net::Names {
    fn from(names: Names) -> Self {
        match names {
            Names::None => Self::None,
            Names::Alive => Self::Alive,
            Names::All => Self::All,
        }
    }
}

fn name_server(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse().ok();
    let alone = || text.parse::<IpAddr>().ok().map(|address| (address, 53).into());
    with_port.or_else(alone).ok_or_else(|| "not an address such as 192.0.2.53 or 192.0.2.53:5353".into())
}

const EXAMPLES: &str = "\
Examples:
  klpoll range 192.168.1.0/24
  klpoll range 10.1.0.0/16 10.2.0.10-10.2.0.99 --exclude 10.1.7.0/24
  klpoll range 10.1.0.0/16 --profile lan --tcp 443,445 --csv > hosts.csv
  klpoll range 10.0.0.0/8 --yes --names none --json
  klpoll zeroconf --wait 10
  klpoll windows 192.168.1.0/24 --full
  klpoll watch 192.168.1.0/24 --every range=1h --directory ldaps://dc1.example.org
  klpoll directory example.org --since computers.mark --bind 'poll@example.org' --password-file password
  klpoll directory ldaps://dc1.example.org --bind 'EXAMPLE\\poll' --password-file password

Ask only networks that you may ask. Without privileges klpoll uses what every user has; klpoll-open beside it, with the
capability cap_net_raw, opens packet sockets for it:
  setcap cap_net_raw+ep klpoll-open

Exit codes: 0 done, 1 failed, 2 usage, 3 the directory refuses, 4 nothing leads to the addresses or the directory.";

/// Answers are spread over up to 120 ms, over 500 ms where the question is cut into several (RFC 6762, 6).
const LULL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn ranges_and_their_options_are_read() {
        let args =
            parse(&["range", "10.1.0.0/16", "10.2.0.10-99", "--exclude", "10.1.7.0/24", "--tcp", "443,22"]);
        let Command::Range(range) = args.unwrap().command else { panic!("not range") };
        assert_eq!((range.ranges.len(), range.exclude.len(), range.tcp), (2, 1, vec![443, 22]));
    }

    #[test]
    fn a_mistake_in_a_range_is_named() {
        let error = parse(&["range", "10.1.0.7/16"]).unwrap_err().to_string();
        assert!(error.contains("write 10.1.0.0/16 for the whole of it"), "{error}");
        assert!(parse(&["range"]).is_err());
        assert!(parse(&["range", "10.1.0.0/16", "--json", "--csv"]).is_err(), "one format at a time");
    }

    #[test]
    fn a_name_server_may_have_a_port() {
        assert_eq!(name_server("192.0.2.53"), Ok("192.0.2.53:53".parse().unwrap()));
        assert_eq!(name_server("[fd00::53]:5353"), Ok("[fd00::53]:5353".parse().unwrap()));
        assert!(name_server("example.org").is_err());
    }

    fn parse(args: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from([&["klpoll"], args].concat())
    }
}
