//! `klserver`: makes a server, runs it, keeps its store, and shows the whole on one machine.

mod backup;
mod check;
mod init;
mod logs;
mod rotate;
mod run;
mod supervisor;
mod up;

use std::ffi::OsString;
use std::io::stdout;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use klnet_wire::identity::owner::become_owner;

pub use up::Up;

use crate::config::{Config, ConfigError};
use crate::units::ports;

/// Administration Server: managed devices dial it, operators reach them through it
#[derive(Debug, Parser)]
#[command(name = "klserver", version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new server: its keys, its store and the first operator's profile
    Init(init::Init),
    /// Invite another administrator when none can log in any more; the server must be stopped
    Invite(init::Invite),
    /// Give the fabric another root, authority and online keys; then reload the server
    RotateRoot(rotate::RotateRoot),
    /// Revoke the server's own certificate, whose key somebody else may have; then reload the server
    RevokeCertificate(Configured),
    /// Run the server until it is told to stop
    Run(run::Run),
    /// Write the store to a file, beside a running server or without one
    Backup(backup::Backup),
    /// Make the store of a backup; the server must be stopped
    Restore(backup::Restore),
    /// Look for damage in the store, changing nothing
    Check(check::Check),
    /// Show everything on this machine: a server and a managed device as separate processes
    Up(Up),
    /// Check a configuration and print it whole, with every default
    CheckConfig(Configured),
    /// Print a shell's completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Where the configuration is, and what overrides it.
#[derive(Debug, Clone, Args)]
struct Configured {
    /// Configuration file [default: /etc/klnet/server.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "KLNET_SERVER_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Folder of keys and store, instead of the configured one
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Name or address by which this server is reached, instead of the configured ones; may be repeated
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Address to bind, instead of the configured one
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    /// Port of discovery, enrolment and API, instead of the configured one
    #[arg(long, value_name = "PORT")]
    https_port: Option<u16>,
    /// Ports for agents, instead of the configured ones
    #[arg(long, value_name = "PORTS", value_parser = PortsParser)]
    agent_ports: Option<Ports>,
    /// Ports for tunnels, instead of the configured ones
    #[arg(long, value_name = "PORTS", value_parser = PortsParser)]
    tunnel_ports: Option<Ports>,
}

/// A range of ports, as one argument.
#[derive(Debug, Clone)]
struct Ports(Vec<u16>);

#[allow(non_upper_case_globals)] // a parser by name, where clap wants a value
const PortsParser: fn(&str) -> Result<Ports, crate::units::NotPorts> = |text| ports(text).map(Ports);

impl Configured {
    /// Reads the configuration for a command that writes in the state folder; as root it becomes the folder's owner, so
    /// that the service can read what was written.
    fn read_as_owner(self) -> anyhow::Result<Config> {
        let config = self.read()?;
        become_owner(&config.state).context("the state folder's owner")?;
        Ok(config)
    }

    /// Reads the configuration and lets the arguments override it.
    fn read(self) -> Result<Config, ConfigError> {
        let default = Path::new(CONFIG);
        let mut config = match &self.config {
            Some(path) => Config::load(path)?,
            None if default.exists() => Config::load(default)?,
            None => Config::parse("")?,
        };
        config.state = self.state.unwrap_or(config.state);
        config.bind = self.bind.unwrap_or(config.bind);
        config.https_port = self.https_port.unwrap_or(config.https_port);
        config.agent_ports = self.agent_ports.map_or(config.agent_ports, |Ports(ports)| ports);
        config.tunnel_ports = self.tunnel_ports.map_or(config.tunnel_ports, |Ports(ports)| ports);
        if !self.hosts.is_empty() {
            config.hosts = self.hosts;
        }
        // The arguments keep to the same rules as the file.
        Config::parse(&config.to_toml())
    }
}

/// Runs `klserver` with these arguments; `up` runs what only the top of the house knows.
pub fn main(args: impl IntoIterator<Item = OsString>, up: fn(&Up) -> ExitCode) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are printed, mistakes explained; both by clap.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let done = match cli.command {
        Command::Init(init) => init.run(),
        Command::Invite(invite) => invite.run(),
        Command::RotateRoot(rotate) => rotate.run(),
        Command::RevokeCertificate(configured) => rotate::revoke_certificate(configured),
        Command::Run(run) => run.run(),
        Command::Backup(backup) => backup.run(),
        Command::Restore(restore) => restore.run(),
        Command::Check(check) => match check.run() {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Up(asked) => return up(&asked),
        Command::CheckConfig(configured) => check_config(configured),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "klserver", &mut stdout());
            Ok(())
        }
        Command::Man => clap_mangen::Man::new(Cli::command()).render(&mut stdout()).map_err(Into::into),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("klserver: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check_config(configured: Configured) -> anyhow::Result<()> {
    let config = configured.read()?;
    print!("{}", config.to_toml());
    Ok(())
}

const CONFIG: &str = "/etc/klnet/server.toml";
const USAGE: u8 = 2;
const EXAMPLES: &str = "\
Examples:
  klserver up                          everything on this machine, without root
  klserver init --host klnet.example.org
  klserver run
  klserver run --https-port 8443       without the privilege to bind 443";
