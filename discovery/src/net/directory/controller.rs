//! Finds the controllers of a domain by DNS, in the order in which they are to be tried.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::DirectoryError;
use super::server::Domain;
use crate::dns::service::{self, Kind, Target, order};
use crate::net::random_key;

/// The controllers of `domain` with their addresses, as `server` names them; those of `first` before others.
pub(super) async fn controllers(
    domain: &Domain,
    server: SocketAddr,
    first: Option<&str>,
) -> Result<Vec<Target>, DirectoryError> {
    let unknown = |why: String| DirectoryError::Unknown { domain: domain.to_string(), server, why };
    let name = domain.controllers();
    let found =
        ask(server, &name, Kind::Servers, |bytes| service::servers(ID, &name, domain.as_str(), bytes));
    let found = found.await.map_err(|error| unknown(error.to_string()))?;
    if found.is_empty() {
        return Err(unknown("it names no controller there".to_owned()));
    }
    let key = random_key().map_err(|error| unknown(error.to_string()))?;
    let mut drawn = 0_u16;
    let mut targets = order(found, |most| {
        drawn = drawn.wrapping_add(1);
        let number = key.cookie(server.ip(), drawn) % (u64::from(most) + 1);
        u32::try_from(number).unwrap_or(0)
    });
    targets.sort_by_key(|target| first != Some(target.host.as_str()));
    for target in &mut targets {
        if target.addresses.is_empty() {
            target.addresses = addresses(server, target.host.as_str()).await;
        }
    }
    Ok(targets)
}

/// The addresses of a name; none where it has none, or nobody says.
async fn addresses(server: SocketAddr, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for kind in [Kind::V4, Kind::V6] {
        let asked = ask(server, name, kind, |bytes| service::addresses(ID, name, kind, bytes)).await;
        found.extend(asked.unwrap_or_default());
    }
    found
}

/// Asks by TCP (RFC 7766): an answer is as long as it is, and whoever is not on the path cannot forge it.
async fn ask<T>(
    server: SocketAddr,
    name: &str,
    kind: Kind,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> io::Result<T> {
    let asked = async {
        let question = service::question(ID, name, kind).ok_or(io::ErrorKind::InvalidInput)?;
        let len = u16::try_from(question.len()).map_err(io::Error::other)?;
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(&[&len.to_be_bytes()[..], &question].concat()).await?;
        let mut bytes = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut bytes).await?;
        read(&bytes).ok_or_else(|| io::Error::other("its answer says nothing about that"))
    };
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    tokio::time::timeout(ANSWER, asked).await.map_err(late)?
}

/// A connection has one question: any identifier does.
const ID: u16 = 1;
/// Name servers ask others in their turn.
const ANSWER: Duration = Duration::from_secs(5);
