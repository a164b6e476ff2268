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

Exit codes: 0 done, 1 failed, 2 usage, 3 refused by the server, 4 not reachable.";

const CHECK_EXAMPLES: &str = "\
Examples:
  klnagchk                       each step to the server; what to do where one fails
  klnagchk --state /tmp/agent    of an agent whose state is elsewhere
  klnagchk --json | jq '.steps[] | select(.outcome == \"failed\")'

Exit codes: 0 every step passed, 1 a step failed, 2 usage.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_lines_are_well_formed() {
        Agent::command().debug_assert();
        Check::command().debug_assert();
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
