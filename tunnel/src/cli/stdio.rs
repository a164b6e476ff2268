//! `klsctunnel stdio`: the standard streams lead to the target.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::access::Access;
use super::args::Options;
use super::failure::{FAILED, Failure};
use super::operator::Operator;
use super::target::Target;
use crate::net::mover::{self, Flow, Stdio};
use crate::pair::{self, EndReason, PairLimits};

/// Opens one connection and joins it to standard input and output.
pub(super) async fn main(target: Target, options: &Options) -> Result<ExitCode, Failure> {
    if target == Target::StandardInput {
        return Err(Failure::Usage(
            "standard input carries the connection: the blob cannot come on it".into(),
        ));
    }
    let access = Access::open(&target, &Operator::load(options)?, options.keep.into()).await?;
    let connection = access.connect().await?;
    let limits = PairLimits { idle: access.idle().await, linger: pair::LINGER, deadline: None, rate: None };
    let (hung_up, gone) = oneshot::channel();
    let hangup = async move {
        hangup().await;
        // `main` is still there: it waits for the join.
        let _ = hung_up.send(());
    };
    let lingered = async move {
        if gone.await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(LINGER).await;
        EndReason::Reset
    };
    let flow = Flow::default();
    let reason = mover::join(Stdio::new(hangup), connection.stream, &limits, &flow, lingered).await;
    match reason {
        EndReason::Finished => Ok(ExitCode::SUCCESS),
        _ => {
            if !options.show.quiet {
                eprintln!("klsctunnel: the connection to {target} was cut");
            }
            Ok(ExitCode::from(FAILED))
        }
    }
}

/// Completes when this process is told to go: OpenSSH hangs up on its ProxyCommand when it is done.
async fn hangup() {
    let told = |kind| signal(kind).map(|mut signal| async move { signal.recv().await });
    match (told(SignalKind::hangup()), told(SignalKind::terminate())) {
        (Ok(hangup), Ok(terminate)) => {
            tokio::select! {
                _ = hangup => {}
                _ = terminate => {}
            }
        }
        // Without handlers the signals end the process.
        _ => std::future::pending().await,
    }
}

/// How long the target may take to close once nobody reads any more.
const LINGER: Duration = Duration::from_secs(2);
