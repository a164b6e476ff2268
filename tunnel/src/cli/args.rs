//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use super::keeping::Keeping;
use crate::net::ready;

/// Opens a local port that leads to a port of a managed device.
#[derive(Debug, Parser)]
#[command(
    name = "klsctunnel",
    version,
    about = "Reach a port of a managed device through its Administration Server",
    after_help = EXAMPLES,
    subcommand_negates_reqs = true
)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    /// What to reach: klt1.… (a pasted blob), - (a blob on standard input), DEVICE:PORT, or DEVICE:HOST:PORT
    #[arg(required_unless_present = "socks")]
    pub(super) target: Option<String>,

    /// Open a SOCKS5 port for whatever DEVICE reaches, such as web pages in its network
    #[arg(long, value_name = "DEVICE", conflicts_with = "target")]
    pub(super) socks: Option<String>,

    /// Listen on this local port instead of a free one
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) local: Option<u16>,

    #[command(flatten)]
    pub(super) show: Show,

    #[command(flatten)]
    pub(super) keep: Keep,

    /// The operator's profile [default: ~/.config/klnet/default.profile]
    #[arg(long, global = true, value_name = "FILE", env = "KLNET_PROFILE", hide_env_values = true)]
    pub(super) profile: Option<PathBuf>,
}

/// What goes with a local port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::Args)]
pub(super) struct Show {
    /// Accept connections of every local user, not only this one
    #[arg(long)]
    pub(super) any_user: bool,

    /// Print one JSON object per line for every event
    #[arg(long)]
    pub(super) json: bool,

    /// Print nothing but failures
    #[arg(long, short)]
    pub(super) quiet: bool,
}

/// How the session behind a local port is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::Args)]
pub(super) struct Keep {
    /// How many connections to keep ready while the port is in use [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(..=8))]
    pub(super) ready: Option<u8>,

    /// How long a connection waits while server, relay or device cannot be reached, such as 90s or 5m; 0 fails at
    /// once [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) patience: Option<Duration>,
}

/// What was chosen, wherever on the command line.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) profile: Option<PathBuf>,
    pub(super) show: Show,
    pub(super) keep: Keep,
}

impl Keep {
    /// For one connection: there is no second to be ready for.
    pub(super) const fn nothing() -> Self {
        Self { ready: Some(0), patience: Some(Duration::ZERO) }
    }

    /// What was said before the subcommand or behind it.
    pub(super) fn or(self, other: Self) -> Self {
        Self { ready: self.ready.or(other.ready), patience: self.patience.or(other.patience) }
    }
}

impl From<Keep> for Keeping {
    fn from(keep: Keep) -> Self {
        let default = ready::Config::default();
        Self {
            ready: ready::Config { streams: keep.ready.map_or(default.streams, usize::from), ..default },
            patience: keep.patience.unwrap_or(DEFAULT_PATIENCE),
        }
    }
}

impl Show {
    /// What was said before the subcommand or behind it.
    pub(super) const fn or(self, other: Self) -> Self {
        Self {
            any_user: self.any_user || other.any_user,
            json: self.json || other.json,
            quiet: self.quiet || other.quiet,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Open an SSH session: runs OpenSSH's ssh with this program as its ProxyCommand
    Ssh {
        /// [USER@]DEVICE[:PORT], [USER@]DEVICE:HOST:PORT, or a blob; the port is 22 unless given
        target: String,
        /// Passed to ssh: options and a command
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run a command while a local port is open; {port} in its arguments becomes the port
    Run {
        /// What to reach
        target: String,
        /// The command and its arguments
        #[arg(required = true, last = true, value_name = "CMD")]
        command: Vec<OsString>,
        #[command(flatten)]
        show: Show,
        #[command(flatten)]
        keep: Keep,
    },
    /// Join standard input and output to the target, as OpenSSH's ProxyCommand does
    Stdio {
        /// What to reach; the variable keeps a blob out of the list of processes
        #[arg(env = TARGET_VARIABLE, hide_env_values = true)]
        target: String,
        /// Print nothing but failures
        #[arg(long, short)]
        quiet: bool,
    },
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// Reads a number of seconds, or one with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("write seconds as 90 or 90s, minutes as 5m, hours as 1h".into()),
    };
    let seconds = digits.parse::<u32>().map_err(|error| error.to_string())?;
    Ok(Duration::from_secs(u64::from(seconds) * unit))
}

/// As long as a person waits, and as a server or agent takes to come back.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(60);

/// Hands a target to `klsctunnel stdio` where a blob must not show in the list of processes.
pub(super) const TARGET_VARIABLE: &str = "KLSCTUNNEL_TARGET";

const EXAMPLES: &str = "\
Examples:
  klsctunnel ssh web-7:22                          a shell on the device
  klsctunnel ssh root@web-7:22 uptime              one command, its exit code passed through
  klsctunnel web-7:5432 --local 5432               then: psql -h 127.0.0.1
  klsctunnel web-7:10.0.0.5:443                    a host that the device can reach
  klsctunnel --socks web-7 --local 1080            a browser's SOCKS5 proxy: 127.0.0.1:1080
  klsctunnel run web-7:80 -- curl http://127.0.0.1:{port}/
  klsctunnel klt1.CpoB…                            a blob from: klctl tunnel grant
  ssh -o 'ProxyCommand klsctunnel stdio %h:%p' web-7

Exit codes: 0 done, 1 failed, 2 usage, 3 refused by the server or the device, 4 not reachable.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_target_alone_opens_a_port() {
        let args = parse(&["web-7:22", "--local", "8022"]).unwrap();
        assert_eq!((args.target.as_deref(), args.local), (Some("web-7:22"), Some(8022)));
        assert!(args.command.is_none());
        assert!(parse(&[]).is_err(), "nothing to reach");
        assert!(parse(&["web-7:22", "--local", "0"]).is_err());
    }

    #[test]
    fn a_socks_port_is_for_a_device_and_needs_no_target() {
        let args = parse(&["--socks", "web-7", "--local", "1080"]).unwrap();
        assert_eq!((args.socks.as_deref(), args.target), (Some("web-7"), None));
        assert!(parse(&["--socks", "web-7", "web-7:22"]).is_err());
    }

    #[test]
    fn patience_has_a_unit() {
        for (text, seconds) in [("0", 0), ("90", 90), ("90s", 90), ("5m", 300), ("1h", 3600)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "s", "1d", "-1", "1.5m", "99999999999s", "5 m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_follows_the_target_of_ssh_is_passed_on() {
        let args = parse(&["ssh", "root@web-7:22", "-L", "80:x:80", "--", "ls", "-l"]).unwrap();
        let Some(Command::Ssh { target, args }) = args.command else { panic!("not ssh") };
        assert_eq!(target, "root@web-7:22");
        assert_eq!(args.first().unwrap(), "-L");
        assert_eq!(args.last().unwrap(), "-l");
    }

    #[test]
    fn a_subcommand_offers_only_what_it_reads() {
        let mut command = Args::command();
        command.build();
        let offered = |name: &str| {
            let command = command.find_subcommand(name).unwrap();
            ["any-user", "json", "quiet", "local", "ready", "patience"]
                .map(|option| command.get_arguments().any(|argument| argument.get_long() == Some(option)))
        };
        assert_eq!(offered("ssh"), [false; 6]);
        assert_eq!(offered("stdio"), [false, false, true, false, false, false]);
        assert_eq!(offered("run"), [true, true, true, false, true, true]);
    }

    #[test]
    fn the_command_of_run_stands_behind_two_dashes() {
        let args = parse(&["run", "web-7:80", "--", "curl", "-s", "http://127.0.0.1:{port}/"]).unwrap();
        let Some(Command::Run { command, .. }) = args.command else { panic!("not run") };
        assert_eq!(command.len(), 3);
        assert!(parse(&["run", "web-7:80"]).is_err());
    }

    fn parse(args: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from([&["klsctunnel"], args].concat())
    }
}
