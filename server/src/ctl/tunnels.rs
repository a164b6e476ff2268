//! `klctl tunnel`.

use std::io::{IsTerminal, stdout};
use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use klnet_tunnel::net::request::{GrantReply, GrantRequest};
use tokio::time::{MissedTickBehavior, interval};

use super::args::Named;
use super::console::{Console, named, print, short};
use super::failure::Failure;
use super::text::{ago, bytes, table};
use crate::api::reply::Done;
use crate::api::types::{Revoke, Tunnel};

pub(super) async fn list(console: &Console) -> Result<(), Failure> {
    let tunnels: Vec<Tunnel> = console.get("/tunnels").await?;
    console.show(&tunnels, |tunnels| shown(tunnels))
}

/// Shows the tunnels anew until interrupted: in place on a terminal, else one list after the other.
pub(super) async fn watch(console: &Console) -> Result<(), Failure> {
    let mut ticks = interval(WATCH_EACH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let tunnels: Vec<Tunnel> = console.get("/tunnels").await?;
        if stdout().is_terminal() && !console.json {
            print(CLEAR)?;
        }
        console.show(&tunnels, |tunnels| shown(tunnels))?;
    }
}

pub(super) async fn grant(
    console: &Console,
    device: String,
    port: u16,
    host: Option<String>,
    operator: Option<String>,
) -> Result<(), Failure> {
    // For someone else the server takes the key they logged in with; it is not known here.
    let own = || BASE64URL_NOPAD.encode(console.profile.identity.key.public().as_bytes());
    let cnf = operator.is_none().then(own);
    let request = GrantRequest { device, port, host, r#for: operator, cnf };
    let reply: GrantReply = console.post("/grants", &request).await?;
    let redeemer = request.r#for.as_deref().unwrap_or("you");
    console.aside(&format!(
        "For {redeemer} only; begin {}: klsctunnel BLOB, or pipe it into klsctunnel -",
        ago(reply.expires, SystemTime::now())
    ));
    console.show(&reply, |reply| super::text::printable(&reply.blob))
}

pub(super) async fn revoke(console: &Console, Named { name, reason }: Named) -> Result<(), Failure> {
    let tunnels: Vec<Tunnel> = console.get("/tunnels").await?;
    let tunnel = named(tunnels, &name, "tunnel", |tunnel| (&tunnel.grant, &tunnel.grant))?;
    let Done {} = console.post(&format!("/tunnels/{}/revoke", tunnel.grant), &Revoke { reason }).await?;
    console.done(&format!("The tunnel to {} is revoked", tunnel.device_name))
}

fn shown(tunnels: &[Tunnel]) -> String {
    if tunnels.is_empty() {
        return "No tunnel is open".to_owned();
    }
    let now = SystemTime::now();
    let row = |tunnel: &Tunnel| {
        let sum =
            |of: fn(&crate::api::types::Connection) -> u64| tunnel.connections.iter().map(of).sum::<u64>();
        let (up, down) = (sum(|connection| connection.to_target), sum(|connection| connection.to_operator));
        let ends = match tunnel.begun {
            true => ago(tunnel.until, now),
            false => "unused".to_owned(),
        };
        [
            short(&tunnel.grant),
            tunnel.device_name.clone(),
            tunnel.target.clone(),
            tunnel.operator.clone(),
            tunnel.connections.len().to_string(),
            bytes(up),
            bytes(down),
            ends,
        ]
    };
    table(["GRANT", "DEVICE", "TARGET", "OPERATOR", "OPEN", "UP", "DOWN", "ENDS"], tunnels.iter().map(row))
}

/// How often `--watch` asks.
const WATCH_EACH: Duration = Duration::from_secs(2);
/// Cursor to the top left, and clear from there (ECMA-48).
const CLEAR: &str = "\u{1b}[H\u{1b}[J";
