//! `klctl tunnel`.

use std::io::{IsTerminal, stdout};
use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use klnet_tunnel::net::request::{GrantReply, GrantRequest};
use tokio::time::{MissedTickBehavior, interval};

use super::args::Named;
use super::console::{Console, named, print, short};
use super::failure::Failure;
use super::text::{ago, bytes, moment, printable, round_trip, table};
use crate::api::reply::Done;
use crate::api::types::{Connection, Revoke, Tunnel};

pub(super) async fn list(console: &Console) -> Result<(), Failure> {
    let tunnels: Vec<Tunnel> = console.get("/tunnels").await?;
    console.show(&tunnels, |tunnels| shown(tunnels))
}

pub(super) async fn show(console: &Console, grant: &str) -> Result<(), Failure> {
    let tunnels: Vec<Tunnel> = console.get("/tunnels").await?;
    let tunnel = named(tunnels, grant, "tunnel", |tunnel| (&tunnel.grant, &tunnel.grant))?;
    console.show(&tunnel, described)
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
        let sum = |of: fn(&Connection) -> u64| tunnel.connections.iter().map(of).sum::<u64>();
        let rate = sum(|connection| connection.to_target_rate + connection.to_operator_rate);
        let slowest = tunnel.connections.iter().filter_map(end_to_end).max();
        [
            short(&tunnel.grant),
            tunnel.device_name.clone(),
            tunnel.target.clone(),
            tunnel.operator.clone(),
            tunnel.connections.len().to_string(),
            bytes(sum(|connection| connection.to_target)),
            bytes(sum(|connection| connection.to_operator)),
            per_second(rate),
            round_trip(slowest),
            ends(tunnel, now),
        ]
    };
    let head = ["GRANT", "DEVICE", "TARGET", "OPERATOR", "OPEN", "UP", "DOWN", "RATE", "RTT", "ENDS"];
    table(head, tunnels.iter().map(row))
}

fn described(tunnel: &Tunnel) -> String {
    let now = SystemTime::now();
    let rows = [
        ["Grant".to_owned(), tunnel.grant.clone()],
        ["Device".to_owned(), format!("{} ({})", tunnel.device_name, tunnel.device)],
        ["Target".to_owned(), tunnel.target.clone()],
        ["Operator".to_owned(), tunnel.operator.clone()],
        ["Ends".to_owned(), ends(tunnel, now)],
    ];
    let line = |[name, value]: [String; 2]| format!("{name:<10} {}", printable(&value));
    let lines = rows.map(line).join("\n");
    match tunnel.connections.is_empty() {
        true => format!("{lines}\nNo connection is open"),
        false => format!("{lines}\n\n{}", connections(&tunnel.connections)),
    }
}

/// Each connection, with the two legs that meet in the relay told apart.
fn connections(connections: &[Connection]) -> String {
    let row = |connection: &Connection| {
        [
            connection.peer.clone(),
            moment(connection.since),
            bytes(connection.to_target),
            bytes(connection.to_operator),
            per_second(connection.to_target_rate),
            per_second(connection.to_operator_rate),
            round_trip(connection.rtt_operator_us),
            round_trip(connection.rtt_device_us),
        ]
    };
    let head = ["FROM", "SINCE", "UP", "DOWN", "UP RATE", "DOWN RATE", "RTT OPERATOR", "RTT DEVICE"];
    table(head, connections.iter().map(row))
}

/// From the operator to the device and back, as far as both legs are known.
fn end_to_end(connection: &Connection) -> Option<u64> {
    Some(connection.rtt_operator_us? + connection.rtt_device_us?)
}

fn per_second(rate: u64) -> String {
    format!("{}/s", bytes(rate))
}

fn ends(tunnel: &Tunnel, now: SystemTime) -> String {
    match tunnel.begun {
        true => ago(tunnel.until, now),
        false => "unused".to_owned(),
    }
}

/// How often `--watch` asks.
const WATCH_EACH: Duration = Duration::from_secs(2);
/// Cursor to the top left, and clear from there (ECMA-48).
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_shows_bytes_rate_and_distance() {
        let tunnel = Tunnel {
            grant: "1f".repeat(16),
            device: "2e".repeat(16),
            device_name: "web-7".into(),
            operator: "anna".into(),
            target: "22".into(),
            begun: true,
            until: 0,
            connections: vec![connection(Some(12_000), Some(30_500)), connection(None, Some(900))],
        };
        let list = shown(std::slice::from_ref(&tunnel));
        for cell in ["web-7", "19 KiB", "20 KiB/s", "42 ms"] {
            assert!(list.contains(cell), "{cell} in {list}");
        }
        let detail = described(&tunnel);
        for cell in ["192.0.2.1:4444", "1970-01-01 00:00:07Z", "12 ms", "30 ms", "0.9 ms", "-"] {
            assert!(detail.contains(cell), "{cell} in {detail}");
        }
    }

    fn connection(rtt_operator_us: Option<u64>, rtt_device_us: Option<u64>) -> Connection {
        Connection {
            peer: "192.0.2.1:4444".into(),
            since: 7,
            to_target: 4000,
            to_operator: 10_000,
            to_target_rate: 240,
            to_operator_rate: 10_000,
            rtt_operator_us,
            rtt_device_us,
        }
    }
}
