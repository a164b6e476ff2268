//! The arguments of `klnagent` and `klnagchk`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use klnet_wire::identity::enroll::parse_pin;
use klnet_wire::identity::trust::Pin;

/// Network Agent of klnet: keeps this device connected to its Administration Server.
#[derive(Debug, Parser)]
#[command(name = "klnagent", version, after_help = AGENT_EXAMPLES, disable_help_subcommand = true)]
pub(super) struct Agent {
    /// What to do
    #[command(subcommand)]
    pub(super) command: Command,
    /// How log lines are written, to standard error; KLNET_LOG chooses the level
    #[arg(long, global = true, value_enum, default_value_t = Log::Text)]
    pub(super) log: Log,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make this device a member of a fabric, with the line that `klctl token create` prints
    Enroll(Enroll),
    /// Connect to the server and stay connected
    Run(Place),
    /// Show what the running agent is doing
    Status {
        #[command(flatten)]
        place: Place,
        /// Print the status as JSON
        #[arg(long)]
        json: bool,
    },
    #[command(flatten)]
    Print(Print),
}

/// What is printed about a command itself.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum Print {
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// Where configuration and state are.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// State folder; over the one in the configuration [default: /var/lib/klnet/agent]
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    /// Configuration file [default: /etc/klnet/agent.toml, which may be missing]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Enroll {
    #[command(flatten)]
    pub(super) place: Place,
    /// Base of the server's API: https://HOST[:PORT]
    #[arg(long, value_name = "URL")]
    pub(super) server: String,
    /// SHA-256 of the fabric's root certificate, 64 hexadecimal digits
    #[arg(long, value_name = "SHA256", value_parser = pin)]
    pub(super) root: PinArg,
    /// Enrolment token; `-` reads it from standard input
    // One token in 64 begins with a hyphen.
    #[arg(long, env = "KLNET_TOKEN", hide_env_values = true, allow_hyphen_values = true)]
    pub(super) token: String,
    /// Name of the device at the server, instead of its host name
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Replace the identity that this device has
    #[arg(long)]
    pub(super) force: bool,
}

/// Why does the agent of this device not connect? Tries every step and says what to do.
#[derive(Debug, Parser)]
#[command(
    name = "klnagchk",
    version,
    after_help = CHECK_EXAMPLES,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true
)]
pub(super) struct Check {
    /// Something else than to check
    #[command(subcommand)]
    pub(super) command: Option<Print>,
    #[command(flatten)]
    pub(super) place: Place,
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Moves the agent of this device to another server, or gives it an identity of its own.
///
/// The new identity is tried before it is used. A running agent takes it at once; when the new server does not welcome it
/// within five minutes, it goes back to where it was.
#[derive(Debug, Parser)]
#[command(
    name = "klmover",
    version,
    after_help = MOVE_EXAMPLES,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub(super) struct Mover {
    /// Something else than to move
    #[command(subcommand)]
    pub(super) command: Option<Print>,
    #[command(flatten)]
    pub(super) place: Place,
    /// Base of the new server's API: https://HOST[:PORT]
    #[arg(long, value_name = "URL", required_unless_present = "dupfix", requires = "root")]
    pub(super) server: Option<String>,
    /// SHA-256 of the new fabric's root certificate, 64 hexadecimal digits
    #[arg(long, value_name = "SHA256", value_parser = pin, requires = "server")]
    pub(super) root: Option<PinArg>,
    /// Enrolment token of the new server; `-` reads it from standard input
    #[arg(long, env = "KLNET_TOKEN", hide_env_values = true, allow_hyphen_values = true, required = true)]
    pub(super) token: Option<String>,
    /// Name of the device at the server, instead of its host name
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Give this device, whose disk was copied, another identity at the server it has
    #[arg(long, conflicts_with_all = ["server", "root"])]
    pub(super) dupfix: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A pin on the command line.
#[derive(Debug, Clone, Copy)]
pub(super) struct PinArg(pub(super) Pin);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Log {
    /// For people
    Text,
    /// One JSON object for each line
    Json,
}

fn pin(text: &str) -> Result<PinArg, String> {
    parse_pin(text).map(PinArg).ok_or_else(|| "a root pin is 64 hexadecimal digits".to_owned())
}

const AGENT_EXAMPLES: &str = "\
Examples:
  klnagent enroll --server https://server:8443 --root 5f0c… --token -
                     what klctl token create prints; the token is read from the keyboard
  klnagent run       stay connected; as a service: systemctl enable --now klnagent
  klnagent status    what the running agent is doing
  klnagchk           why it does not connect

With device_key = \"pkcs11:token=…;object=…?module-path=…&pin-source=file:…\" in the configuration, enroll makes the
private key in a token (a TPM by its PKCS #11 module); run it as the account that klnagent runs under.

Exit codes: 0 done, 1 failed, 2 usage, 3 refused by the server, 4 not reachable, 5 key unusable.";

const CHECK_EXAMPLES: &str = "\
Examples:
  klnagchk                       each step to the server; what to do where one fails
  klnagchk --state /tmp/agent    of an agent whose state is elsewhere
  klnagchk --json | jq '.steps[] | select(.outcome == \"failed\")'

Exit codes: 0 every step passed, 1 a step failed, 2 usage.";

const MOVE_EXAMPLES: &str = "\
Examples:
  klmover --server https://new:8443 --root 5f0c… --token -
                     what klctl token create of the new server prints, with klmover in place of klnagent enroll
  klmover --dupfix --token -
                     on a copy of a device: an identity of its own, at the same server

Exit codes: 0 done, 1 failed, 2 usage, 3 refused by the server, 4 not reachable, 5 key unusable.
Until the new server has welcomed the agent, within five minutes of its start, the device is where it was.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_lines_are_well_formed() {
        Agent::command().debug_assert();
        Check::command().debug_assert();
        Mover::command().debug_assert();
    }

    #[test]
    fn a_move_names_the_new_server_or_says_dupfix() {
        let parse =
            |line: &[&str]| Mover::try_parse_from(std::iter::once("klmover").chain(line.iter().copied()));
        let root = "0".repeat(64);
        assert!(parse(&["--server", "https://s", "--root", &root, "--token", "t"]).is_ok());
        assert!(parse(&["--dupfix", "--token", "t"]).is_ok());
        assert!(parse(&["man"]).is_ok());
        assert!(parse(&["--server", "https://s", "--token", "t"]).is_err(), "no trust on first use");
        assert!(parse(&["--dupfix", "--server", "https://s", "--root", &root, "--token", "t"]).is_err());
        assert!(parse(&["--token", "t"]).is_err());
    }

    #[test]
    fn a_token_may_begin_with_a_hyphen() {
        let root = "0".repeat(64);
        for token in ["-2kGhNIq74YPMn1r", "--kGhNIq", "-"] {
            let line = ["klnagent", "enroll", "--server", "https://s", "--root", &root, "--token", token];
            let Command::Enroll(enroll) = Agent::try_parse_from(line).unwrap().command else {
                panic!("not enroll")
            };
            assert_eq!(enroll.token, token);
        }
    }
}
