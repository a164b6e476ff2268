//! What can be written on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::feed::Format;

/// Makes signed snapshots of published lists.
#[derive(Parser)]
#[command(name = "ksnserver", version, after_help = EXAMPLES)]
pub(super) struct Args {
    /// Folder of the sources, the snapshot and the key that signs it.
    #[arg(long, global = true, env = "KLNET_KSN_STORE", default_value = "/var/lib/klnet/ksn")]
    pub(super) store: PathBuf,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Reads a published list and makes a snapshot with it; what the source said before is replaced.
    Import(ImportArgs),
    /// Answers proxies from the snapshot, until it is told to end.
    Serve(ServeArgs),
    /// Looks into the snapshot, or makes it again.
    Snapshot {
        #[command(subcommand)]
        command: SnapshotCommand,
    },
    /// Prints completions for a shell.
    Completions { shell: Shell },
    /// Prints the manual page.
    Man,
}

#[derive(clap::Args)]
pub(super) struct ServeArgs {
    /// Address and port.
    #[arg(long, default_value = "0.0.0.0:1443")]
    pub(super) listen: SocketAddr,
    /// State folder of klnagent on this machine, whose revocation lists are in force: proxies name the device before the host.
    /// Or a PEM file with key and certificate chain of the role server, such as klserver's server.identity on its machine,
    /// without lists. It is read again when it changes. Proxies have to show certificates of the same root.
    #[arg(long)]
    pub(super) identity: PathBuf,
}

#[derive(clap::Args)]
pub(super) struct ImportArgs {
    /// Format: clamav, urlhaus, malwarebazaar, threatfox, sslbl, nsrl, misp, gsb, stix, rpz, block or allow.
    pub(super) format: Format,
    /// Files of one source, together all it says; plain, gzip or zip.
    #[arg(required = true)]
    pub(super) files: Vec<PathBuf>,
    /// Name of the source, when a format comes from several.
    #[arg(long)]
    pub(super) source: Option<String>,
    /// How sure the source is, in percent, in the place of what it says itself.
    #[arg(long, value_parser = clap::value_parser!(u8).range(..=100))]
    pub(super) confidence: Option<u8>,
    /// Reads everything and changes nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Prints one line of JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Subcommand)]
pub(super) enum SnapshotCommand {
    /// Says what the snapshot consists of.
    Show {
        /// Prints one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Reads all of a snapshot and says whether it is the one that was signed.
    Verify {
        /// The file; the snapshot of the store when there is none.
        file: Option<PathBuf>,
        /// The public key in hexadecimal digits; that of the store when there is none.
        #[arg(long)]
        key: Option<String>,
    },
    /// Makes the snapshot again, signed by the store's key of today.
    Sign {
        /// The public key it was signed by before, in hexadecimal digits, when that is another.
        #[arg(long)]
        old_key: Option<String>,
    },
    /// Forgets a source and makes the snapshot without it.
    Remove {
        /// Name of the source.
        source: String,
    },
    /// Prints the public key that proxies have to trust.
    Key,
}

const EXAMPLES: &str = "Examples:
  ksnserver import clamav main.cvd daily.cld
  ksnserver import urlhaus urlhaus.csv.zip --dry-run
  ksnserver import block own.txt --source own --confidence 100
  ksnserver snapshot show
  ksnserver serve --identity /var/lib/klnet/agent

Exit codes: 0 done, 1 failed, 2 usage, 3 the list was refused and nothing has changed.";
