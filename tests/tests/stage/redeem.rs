//! One redeemer of a blob, without the patience of the real initiator: one label, one try, and what came of it.

use std::time::Duration;

use klnet_tunnel::blob::Blob;
use klnet_tunnel::label::Label;
use klnet_tunnel::net::{exchange, inner};
use klnet_tunnel::stream::{Answer, Go, Refusal};
use klnet_wire::signing::SigningKey;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What became of it.
pub(crate) enum Redeemed {
    /// A new session; bytes flow to the target.
    Ready(Box<TlsStream<TcpStream>>),
    /// The device refuses and says why.
    Refused(Refusal),
    /// The relay or the device closed without a word.
    Closed,
}

/// Redeems `blob` with `key` under label `n`, asking for a new session.
pub(crate) async fn redeem(blob: &Blob, key: &SigningKey, n: u32) -> Redeemed {
    timeout(PATIENCE, attempt(blob, key, n)).await.ok().flatten().unwrap_or(Redeemed::Closed)
}

impl Redeemed {
    pub(crate) const fn is_ready(&self) -> bool {
        matches!(self, Self::Ready(_))
    }
}

impl std::fmt::Debug for Redeemed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready(_) => f.write_str("Ready"),
            Self::Refused(reason) => write!(f, "Refused({reason:?})"),
            Self::Closed => f.write_str("Closed"),
        }
    }
}

async fn attempt(blob: &Blob, key: &SigningKey, n: u32) -> Option<Redeemed> {
    let port = *blob.ports.first()?;
    let stream = TcpStream::connect((blob.relay.to_string().as_str(), port)).await.ok()?;
    let name = Label::of(&blob.secret, blob.grant.id, n).server_name();
    let connector = TlsConnector::from(inner::initiator_config(key, &blob.agent));
    let mut stream = connector.connect(ServerName::try_from(name).ok()?, stream).await.ok()?;
    exchange::write(&mut stream, &Go { session: None, connection: n }.encode(), PATIENCE).await.ok()?;
    Some(match exchange::read_answer(&mut stream, PATIENCE).await.ok()? {
        Answer::Ready { .. } => Redeemed::Ready(Box::new(stream)),
        Answer::Refused { reason, .. } => Redeemed::Refused(reason),
    })
}

/// Longer than every deadline of relay and agent.
const PATIENCE: Duration = Duration::from_secs(25);
