//! `klmover`: to another server, or to an identity of its own.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use klnet_wire::identity::owner::become_owner;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::args::Mover;
use super::{on_runtime, print, token};
use crate::enroll::{Invitation, Token};
use crate::mover::{outcome, prepare};
use crate::state::{Device, Folder, TRIAL};

/// Moves the device; the running agent is told, or whoever starts one.
pub(super) fn moved(args: Mover) -> Result<ExitCode> {
    let folder = args.place.config()?.folder();
    become_owner(folder.path()).context("the state folder's owner")?;
    on_runtime(moved_to(args, folder))
}

async fn moved_to(args: Mover, folder: Folder) -> Result<ExitCode> {
    let device = prepare(&folder, &invitation(&args, &folder)?).await?;
    let running = folder.is_locked()?;
    // Where no agent runs, the trial begins when one starts.
    if running {
        tell(&folder)?;
        outcome(&folder, &device, TRIAL + PATIENCE).await?;
    }
    print(said(&device, running, args.json).as_bytes())
}

fn invitation(args: &Mover, folder: &Folder) -> Result<Invitation> {
    let token = Token(token(args.token.clone().unwrap_or_default())?);
    let (server, root) = match (&args.server, args.root) {
        (Some(server), Some(root)) => (server.clone(), root.0),
        _ => {
            let device = folder.device()?;
            (device.server, device.trust.pin())
        }
    };
    Ok(Invitation { server, root, token, name: args.name.clone() })
}

/// Has the agent that uses the folder look at it again.
fn tell(folder: &Folder) -> Result<()> {
    let process = folder.holder().and_then(|process| Pid::from_raw(process.parse().ok()?));
    let process = process.context("the running agent does not say which process it is; restart it")?;
    kill_process(process, Signal::USR1).context("the running agent cannot be told; restart it")
}

fn said(device: &Device, running: bool, json: bool) -> String {
    let id = device.principal.id::<()>().to_string();
    match (json, running) {
        (true, _) => {
            json!({ "device": id, "server": device.server, "connected": running }).to_string() + "\n"
        }
        (false, true) => format!("connected to {} as device {id}\n", device.server),
        (false, false) => format!("device {id} of {}: start klnagent to connect\n", device.server),
    }
}

/// How much longer than its trial an agent may take to say what became of it.
const PATIENCE: Duration = Duration::from_secs(60);
