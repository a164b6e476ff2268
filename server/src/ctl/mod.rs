//! The `klctl` command: an operator's view of the fleet, over the same API that is open to every program.

mod args;
mod audit;
mod console;
mod devices;
mod distributions;
mod failure;
mod groups;
mod ksn;
mod login;
mod operators;
mod points;
mod polling;
mod profile;
mod renew;
pub mod text;
mod tokens;
mod tunnels;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{
    Args, Command, Device, DistributionAction, GroupAction, KsnAction, ListTunnels, Operator, PointAction,
    PollAction, Revoke, Token, Tunnel,
};
use console::{Console, print};
use failure::Failure;

use crate::api::types::AssignPoint;

/// Runs the command: `args` begin with the program's own name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            // Nobody is left to tell when standard error is gone.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE));
        }
    };
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has enough of it, as in `klctl devices | head`.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("klctl: {}", text::printable(&failure.to_string()));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(args: Args) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::Runtime)?.block_on(dispatch(args))
}

async fn dispatch(Args { command, options }: Args) -> Result<(), Failure> {
    match command {
        Command::Login(login) => return login::login(login, &options).await,
        Command::Renew => return renew::command(&options).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "klctl", &mut script);
            return print(&String::from_utf8_lossy(&script));
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Args::command()).render(&mut page)?;
            return print(&String::from_utf8_lossy(&page));
        }
        _ => {}
    }
    administer(command, &Console::open(&options).await?).await
}

async fn administer(command: Command, console: &Console) -> Result<(), Failure> {
    match command {
        Command::Login(_) | Command::Renew | Command::Completions { .. } | Command::Man => Ok(()),
        Command::Whoami => operators::whoami(console).await,
        Command::Device { unassigned: true, .. } => polling::unassigned(console).await,
        Command::Device { action, .. } => match action.unwrap_or(Device::List) {
            Device::List => devices::list(console).await,
            Device::Show { device } => devices::show(console, &device).await,
            Device::Move { device, group } => devices::relocate(console, &device, group).await,
            Device::Remove { device } => devices::remove(console, &device).await,
            Device::ApproveClone { device, address } => {
                devices::approve_clone(console, &device, address).await
            }
        },
        Command::Group { action } => match action.unwrap_or(GroupAction::List) {
            GroupAction::List => groups::list(console).await,
            GroupAction::Add { path } => groups::add(console, &path).await,
            GroupAction::Remove { path } => groups::remove(console, &path).await,
        },
        Command::Operator { action } => match action.unwrap_or(Operator::List) {
            Operator::List => operators::list(console).await,
            Operator::Add { name, roles, ttl } => operators::add(console, name, roles, ttl).await,
            Operator::Revoke(named) => operators::revoke(console, named).await,
        },
        Command::Token { action } => match action.unwrap_or(Token::List) {
            Token::List => tokens::list(console).await,
            Token::Create { group, uses, ttl } => tokens::create(console, group, uses, ttl).await,
            Token::Remove { id } => tokens::remove(console, &id).await,
        },
        Command::Tunnel { list, action } => match action.unwrap_or(Tunnel::List(list)) {
            Tunnel::List(ListTunnels { watch: false }) => tunnels::list(console).await,
            Tunnel::List(ListTunnels { watch: true }) => tunnels::watch(console).await,
            Tunnel::Show { grant } => tunnels::show(console, &grant).await,
            Tunnel::Grant { device, port, host, operator } => {
                tunnels::grant(console, device, port, host, operator).await
            }
            Tunnel::Revoke(named) => tunnels::revoke(console, named).await,
        },
        Command::Revoke { what } => match what {
            Revoke::Device(named) => devices::revoke(console, named).await,
            Revoke::Operator(named) => operators::revoke(console, named).await,
            Revoke::Tunnel(named) => tunnels::revoke(console, named).await,
        },
        Command::Dp { action } => match action.unwrap_or(PointAction::List) {
            PointAction::List => points::list(console).await,
            PointAction::Assign { device, group, rate } => {
                points::assign(console, &device, AssignPoint { group, rate_mbit: rate }).await
            }
            PointAction::Unassign { device } => points::unassign(console, &device).await,
        },
        Command::Poll { action } => match action.unwrap_or(PollAction::List) {
            PollAction::List => polling::list(console).await,
            PollAction::Set(set) => polling::set(console, set).await,
            PollAction::Remove { device } => polling::remove(console, &device).await,
        },
        Command::Ksn { action } => match action.unwrap_or(KsnAction::List) {
            KsnAction::List => ksn::list(console).await,
            KsnAction::Set(set) => ksn::set(console, set).await,
            KsnAction::Remove { device } => ksn::remove(console, &device).await,
        },
        Command::Distribute(distribute) => distributions::distribute(console, distribute).await,
        Command::Distribution { action } => match action.unwrap_or(DistributionAction::List) {
            DistributionAction::List => distributions::list(console).await,
            DistributionAction::Show { distribution } => distributions::show(console, &distribution).await,
            DistributionAction::Remove { distribution } => {
                distributions::remove(console, &distribution).await
            }
        },
        Command::Audit(audit) => audit::show(console, &audit).await,
    }
}
