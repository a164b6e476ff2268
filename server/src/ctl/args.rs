//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Group, Parser, Subcommand};
use clap_complete::Shell;

use crate::units::duration;

/// Administer devices, operators and tunnels through an Administration Server
#[derive(Debug, Parser)]
#[command(name = "klctl", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,

    #[command(flatten)]
    pub(super) options: Options,
}

#[derive(Debug, Clone, Group)]
pub(super) struct Options {
    /// The operator's profile [default: ~/.config/klnet/default.profile]
    #[arg(long, global = true, value_name = "FILE", env = "KLNET_PROFILE", hide_env_values = true)]
    pub(super) profile: Option<PathBuf>,

    /// Print JSON instead of tables
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Become an operator: makes a key on this machine and a profile that holds it
    #[command(allow_missing_positional = true)]
    Login(Login),
    /// Renew the profile's certificate now, also after the fabric has got another root
    Renew,
    /// Show who you are to the server, and what you may do
    Whoami,
    /// List, show, move and remove devices
    #[command(visible_alias = "devices", args_conflicts_with_subcommands = true)]
    Device {
        /// Those that were found in networks and are not managed, instead of those that are
        #[arg(long)]
        unassigned: bool,
        #[command(subcommand)]
        action: Option<Device>,
    },
    /// List, add and remove groups of devices
    #[command(visible_alias = "groups")]
    Group {
        #[command(subcommand)]
        action: Option<GroupAction>,
    },
    /// List, add and revoke operators
    #[command(visible_alias = "operators")]
    Operator {
        #[command(subcommand)]
        action: Option<Operator>,
    },
    /// List, create and remove enrolment tokens
    #[command(visible_alias = "tokens")]
    Token {
        #[command(subcommand)]
        action: Option<Token>,
    },
    /// List, grant and revoke tunnels
    #[command(visible_alias = "tunnels", args_conflicts_with_subcommands = true)]
    Tunnel {
        #[command(flatten)]
        list: ListTunnels,
        #[command(subcommand)]
        action: Option<Tunnel>,
    },
    /// List, assign and unassign distribution points: devices that bring files to the others of their LAN
    #[command(visible_alias = "dps")]
    Dp {
        #[command(subcommand)]
        action: Option<PointAction>,
    },
    /// List and say which devices find hosts in their networks; what they find: klctl devices --unassigned
    #[command(visible_alias = "polls")]
    Poll {
        #[command(subcommand)]
        action: Option<PollAction>,
    },
    /// List and say which devices are KSN proxies, and show their counters
    Ksn {
        #[command(subcommand)]
        action: Option<KsnAction>,
    },
    /// Upload files and folders, sign them, and bring them to every device of a group
    Distribute(Distribute),
    /// List what is distributed, show the result of each device, and end it
    #[command(visible_alias = "distributions")]
    Distribution {
        #[command(subcommand)]
        action: Option<DistributionAction>,
    },
    /// Revoke a device, an operator or a tunnel for ever; what it has open is cut at once
    Revoke {
        #[command(subcommand)]
        what: Revoke,
    },
    /// Show what was done, and by whom; the newest comes last
    Audit(Audit),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Debug, Group)]
pub(super) struct Login {
    /// Where the server's API is: https://HOST[:PORT] [default: as the invitation says]
    pub(super) url: Option<String>,
    /// The invitation, kli1.…
    pub(super) invitation: String,
    /// What to call this machine in the audit log [default: its host name]
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Replace a profile that is there already; its key is lost
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Device {
    /// List devices (also without `list`)
    List,
    /// Show everything about a device
    Show {
        /// Its name, its id, or the start of its id
        device: String,
    },
    /// Put a device into a group
    Move {
        /// Its name, its id, or the start of its id
        device: String,
        /// The group's path, such as /office/servers
        group: String,
    },
    /// Remove a device for ever; what it has open is cut at once
    Remove {
        /// Its name, its id, or the start of its id
        device: String,
    },
    /// Let the clone of a device have an identity of its own when it comes again, within a day
    ApproveClone {
        /// Name, id, or start of the id of the device whose identity the clone uses
        device: String,
        /// The address the clone came from, as `klctl device show` tells it
        address: IpAddr,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum GroupAction {
    /// List groups (also without `list`)
    List,
    /// Add a group below one that is there
    Add {
        /// Its path, such as /office/servers
        path: String,
    },
    /// Remove an empty group
    Remove {
        /// Its path
        path: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Operator {
    /// List operators (also without `list`)
    List,
    /// Add an operator and print the line they log in with
    Add {
        /// Their name
        name: String,
        /// What they may do; repeat for several
        #[arg(long = "role", required = true, value_name = "ROLE", value_parser = ["administrator", "tunnel", "tunnel-hosts", "rdp"])]
        roles: Vec<String>,
        /// How long the invitation is good
        #[arg(long, default_value = "24h", value_parser = duration)]
        ttl: Duration,
    },
    /// Revoke an operator for ever
    Revoke(Named),
}

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// List tokens that are good (also without `list`)
    List,
    /// Create a token and print the line to paste on a device
    Create {
        /// The group its devices go to
        #[arg(long, value_name = "PATH")]
        group: Option<String>,
        /// How many devices may enrol with it
        #[arg(long, default_value_t = 1, value_name = "N")]
        uses: u32,
        /// How long it is good
        #[arg(long, default_value = "24h", value_parser = duration)]
        ttl: Duration,
    },
    /// Remove a token
    Remove {
        /// Its id, or the start of it
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum PointAction {
    /// List distribution points (also without `list`)
    List,
    /// Make a device the distribution point of a group and those below it
    Assign {
        /// Its name, its id, or the start of its id
        device: String,
        /// The group's path
        #[arg(long, value_name = "PATH")]
        group: String,
        /// Send so many Mbit/s at most; without it, as many as its networks take
        #[arg(long, value_name = "MBIT", value_parser = clap::value_parser!(u32).range(1..))]
        rate: Option<u32>,
    },
    /// Take the role from a device
    Unassign {
        /// Its name, its id, or the start of its id
        device: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum PollAction {
    /// List devices that poll (also without `list`)
    List,
    /// Have a device poll this from now on, and nothing of what it polled before
    Set(SetPoll),
    /// Have a device poll nothing
    Remove {
        /// Its name, its id, or the start of its id
        device: String,
    },
}

#[derive(Debug, Group)]
pub(super) struct SetPoll {
    /// Its name, its id, or the start of its id
    pub(super) device: String,
    /// A range of addresses: prefix, start-end or subnet/mask; may be given several times
    #[arg(long = "range", value_name = "RANGE")]
    pub(super) ranges: Vec<String>,
    /// How often the ranges are polled
    #[arg(long, default_value = "7h", value_parser = duration, requires = "ranges")]
    pub(super) every: Duration,
    /// Look for what announces itself (mDNS), so often
    #[arg(long, value_name = "EVERY", value_parser = duration, num_args = 0..=1, default_missing_value = "15m")]
    pub(super) zeroconf: Option<Duration>,
    /// Ask for Windows names, so often
    #[arg(long, value_name = "EVERY", value_parser = duration, num_args = 0..=1, default_missing_value = "1h")]
    pub(super) windows: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub(super) enum KsnAction {
    /// List KSN proxies, and what they have counted (also without `list`)
    List,
    /// Make a device a KSN proxy, or run it with something else
    Set(SetKsnArgs),
    /// Have a device be no KSN proxy any more
    Remove {
        /// Its name, its id, or the start of its id
        device: String,
    },
}

#[derive(Debug, Group)]
pub(super) struct SetKsnArgs {
    /// Its name, its id, or the start of its id
    pub(super) device: String,
    /// A reputation server, the best first; may be given several times
    #[arg(long = "upstream", value_name = "[DEVICE@]HOST:PORT")]
    pub(super) upstreams: Vec<String>,
    /// Serve HTTPS, too
    #[arg(long)]
    pub(super) https: bool,
    /// Answer also who shows no certificate
    #[arg(long)]
    pub(super) allow_plain: bool,
    /// MiB of its cache
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) cache: Option<u32>,
}

#[derive(Debug, Group)]
pub(super) struct Distribute {
    /// Files and folders, which become one object
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// The group whose devices get it, with those below it
    #[arg(long, value_name = "PATH")]
    pub(super) group: String,
    /// What to call it; a newer version of a name takes the place of an older one [default: as the first file]
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Greater than every version that the name has had [default: the time in milliseconds]
    #[arg(long, value_name = "N")]
    pub(super) version: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(super) enum DistributionAction {
    /// List what is distributed (also without `list`)
    List,
    /// Show what became of it at each device
    Show {
        /// Its id, the start of it, or its name
        distribution: String,
    },
    /// Distribute it no more; devices that have it keep it
    Remove {
        /// Its id, the start of it, or its name
        distribution: String,
    },
}

#[derive(Debug, Group)]
pub(super) struct ListTunnels {
    /// Show them anew every two seconds
    #[arg(long)]
    pub(super) watch: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Tunnel {
    /// List tunnels (also without `list`)
    List(ListTunnels),
    /// Show a tunnel and each of its connections
    Show {
        /// The id of its grant, or the start of it
        grant: String,
    },
    /// Grant a tunnel and print the blob that klsctunnel takes
    Grant {
        /// The device: its name or its id
        device: String,
        /// The port to reach
        #[arg(value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,
        /// A host that the device can reach, instead of the device itself
        #[arg(long, value_name = "HOST")]
        host: Option<String>,
        /// The operator who will use it, instead of yourself
        #[arg(long = "for", value_name = "OPERATOR")]
        operator: Option<String>,
    },
    /// Revoke a grant and cut its connections
    Revoke(Named),
}

#[derive(Debug, Subcommand)]
pub(super) enum Revoke {
    /// A device: its name, its id, or the start of its id
    Device(Named),
    /// An operator: their name
    Operator(Named),
    /// A tunnel: the id of its grant, or the start of it
    Tunnel(Named),
}

#[derive(Debug, Group)]
pub(super) struct Named {
    /// Its name or id
    pub(super) name: String,
    /// Why, for the audit log
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) reason: String,
}

#[derive(Debug, Group)]
pub(super) struct Audit {
    /// Show this many entries
    #[arg(short = 'n', long = "lines", default_value_t = 20, value_name = "N")]
    pub(super) lines: usize,
    /// Go on showing entries as they come
    #[arg(long, short)]
    pub(super) follow: bool,
}

const EXAMPLES: &str = "\
Examples:
  klctl login https://server:8443 kli1.CiA…        once, with the invitation you were given
  klctl token create --group /office --uses 20     prints the line to paste on devices
  klctl devices                                    what is managed, and what is online
  klctl operator add anna --role tunnel            prints the line Anna logs in with
  klctl tunnel grant web-7 22 | klsctunnel -       a tunnel to the device's port 22
  klctl tunnel grant web-7 5432 --host 10.0.0.5 --for anna
  klctl tunnels --watch                            who moves what, how fast, over which distance
  klctl dp assign nas-1 --group /office            nas-1 brings files to the office's devices
  klctl distribute update.bin --group /office      one transmission in the LAN, verified by each device
  klctl distribution show update.bin               who has it, and how it came
  klctl poll set nas-1 --range 192.168.1.0/24 --zeroconf
  klctl devices --unassigned                       what nas-1 has found, and is not managed
  klctl ksn set nas-1 --upstream ksn.example.org:1443
  klctl revoke device web-7 --reason stolen        cuts its sessions at once
  klctl audit --follow

Exit codes: 0 done, 1 failed, 2 usage, 3 refused by the server, 4 not reachable.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::fleet::OperatorRole;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn roles_on_the_command_line_are_those_of_the_fleet() {
        for role in OperatorRole::ALL {
            assert!(parse(&["operator", "add", "anna", "--role", role.name()]).is_ok(), "{role}");
        }
        assert!(parse(&["operator", "add", "anna", "--role", "root"]).is_err());
        assert!(parse(&["operator", "add", "anna"]).is_err(), "a role is needed");
    }

    #[test]
    fn an_invitation_may_come_with_or_without_its_url() {
        let login = |line: &[&str]| match parse(line).unwrap().command {
            Command::Login(login) => (login.url, login.invitation),
            other => panic!("{other:?}"),
        };
        assert_eq!(login(&["login", "kli1.x"]), (None, "kli1.x".to_owned()));
        let url = Some("https://s".to_owned());
        assert_eq!(login(&["login", "https://s", "kli1.x"]), (url, "kli1.x".to_owned()));
    }

    #[test]
    fn plural_nouns_list() {
        for line in
            [["devices"], ["groups"], ["operators"], ["tokens"], ["tunnels"], ["dps"], ["distributions"]]
        {
            assert!(parse(&line).is_ok(), "{line:?}");
        }
        assert!(parse(&["tunnels", "--watch", "--json"]).is_ok());
        assert!(parse(&["tunnel", "show", "1f"]).is_ok());
        assert!(parse(&["tunnel", "grant", "web-7", "0"]).is_err());
    }

    fn parse(line: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("klctl").chain(line.iter().copied()))
    }
}
