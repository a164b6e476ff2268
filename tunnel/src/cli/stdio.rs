//! `klsctunnel stdio`: the standard streams lead to the target.

use std::process::ExitCode;

use super::access::Access;
use super::args::Options;
use super::failure::{FAILED, Failure};
use super::target::Target;
use crate::net::mover::{self, Flow, Stdio};
use crate::pair::{EndReason, PairLimits};

/// Opens one connection and joins it to standard input and output.
pub(super) async fn main(target: Target, options: &Options) -> Result<ExitCode, Failure> {
    if target == Target::StandardInput {
        return Err(Failure::Usage(
            "standard input carries the connection: the blob cannot come on it".into(),
        ));
    }
    let access = Access::open(&target, options).await?;
    let connection = access.connect().await?;
    let limits = PairLimits { idle: access.idle().await, deadline: None, rate: None };
    let forever = std::future::pending::<EndReason>();
    let reason = mover::join(Stdio::new(), connection.stream, &limits, &Flow::default(), forever).await;
    match reason {
        EndReason::Finished => Ok(ExitCode::SUCCESS),
        _ => {
            if !options.quiet {
                eprintln!("klsctunnel: the connection to {target} was cut");
            }
            Ok(ExitCode::from(FAILED))
        }
    }
}
