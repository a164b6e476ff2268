//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

/// Sends files to every receiver of a LAN at once.
#[derive(Debug, Parser)]
#[command(
    name = "klcast",
    version,
    about = "Send files to every receiver of a LAN in one transmission, encrypted and verified",
    after_help = EXAMPLES
)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make the key files of a group
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Send files and folders to the group
    Send(SendArgs),
    /// Receive what is sent to the group into a folder
    Receive(ReceiveArgs),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Write NAME.sender, which is secret, and NAME.receiver, for every receiver
    New {
        /// Such as lan, or a path
        name: PathBuf,
        /// The group's address and port [default: one drawn from 239.194.0.0/15, port 15001]
        #[arg(long, value_name = "ADDRESS:PORT")]
        group: Option<SocketAddr>,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct SendArgs {
    /// The sender's key file
    #[arg(long, short, value_name = "FILE")]
    pub(super) key: PathBuf,

    /// End once so many receivers are complete, instead of 5 seconds after the last request
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) expect: Option<u32>,

    /// Send by this interface; may be given more than once [default: all that are not loopback]
    #[arg(long, short, value_name = "NAME")]
    pub(super) interface: Vec<String>,

    /// Bits a second at most on each interface, such as 200M or 1.5G [default: as fast as all can follow]
    #[arg(long, short, value_name = "RATE", value_parser = rate)]
    pub(super) rate: Option<u64>,

    /// Routers that packets may pass
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) hops: u8,

    /// Print one JSON object per line for every event, and the result
    #[arg(long)]
    pub(super) json: bool,

    /// Print nothing but failures
    #[arg(long, short)]
    pub(super) quiet: bool,

    /// Files and folders
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReceiveArgs {
    /// The receiver's key file
    #[arg(long, short, value_name = "FILE")]
    pub(super) key: PathBuf,

    /// Listen on this interface; may be given more than once [default: all that are not loopback]
    #[arg(long, short, value_name = "NAME")]
    pub(super) interface: Vec<String>,

    /// End after the first object that is complete
    #[arg(long)]
    pub(super) once: bool,

    /// What the sender is told this receiver is called [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub(super) label: Option<String>,

    /// Print one JSON object per line for every event
    #[arg(long)]
    pub(super) json: bool,

    /// Print nothing but failures
    #[arg(long, short)]
    pub(super) quiet: bool,

    /// The folder
    #[arg(value_name = "DIR")]
    pub(super) folder: PathBuf,
}

/// Reads a number of bits a second, with a unit of thousands.
fn rate(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        _ => return Err("write a number of bits a second, such as 200M or 1.5G".into()),
    };
    let number: f64 = digits.parse().map_err(|_| format!("{digits:?} is no number"))?;
    // From the slowest rate there is on.
    if (1e6..=1e12).contains(&(number * unit)) {
        Ok(u64::from(crate::loss::whole(number * unit / 1e3)) * 1000)
    } else {
        Err("a rate is from 1M to 1000G".into())
    }
}

const EXAMPLES: &str = "\
Examples:
  klcast key new lan                                 writes lan.sender and lan.receiver
  klcast receive --key lan.receiver /srv/images      on every receiver: takes whatever comes
  klcast receive --key lan.receiver . --once         takes one object, then ends
  klcast send --key lan.sender disk.img              to whoever listens
  klcast send --key lan.sender --expect 8 disk.img   until eight have it
  klcast send --key lan.sender --rate 200M build/    a folder, at 200 Mbit/s at most

A receiver that comes late, loses packets or starts anew gets what it lacks; what it has verified is not sent again.
Nobody without a key file can read or change anything; who has only NAME.receiver can change nothing on any disk.

Exit codes: 0 done, 1 failed, 2 usage, 3 some receivers are missing, 4 nobody came.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn rates_have_units() {
        for (text, bits) in
            [("1M", 1_000_000), ("200M", 200_000_000), ("1.5G", 1_500_000_000), ("2000000", 2_000_000)]
        {
            assert_eq!(rate(text), Ok(bits));
        }
        for text in ["", "M", "-1M", "10", "1T", "1e99G", "nan", "5 M"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sending_needs_a_key_and_something_to_send() {
        let parse = |args: &[&str]| Args::try_parse_from([&["klcast"], args].concat());
        assert!(parse(&["send", "--key", "k", "a", "b"]).is_ok());
        assert!(parse(&["send", "--key", "k"]).is_err());
        assert!(parse(&["send", "a"]).is_err());
        assert!(parse(&["send", "--key", "k", "--expect", "0", "a"]).is_err());
    }
}
