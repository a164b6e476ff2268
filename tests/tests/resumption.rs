//! No session of TLS is ever resumed: whoever comes back shows a certificate that is looked at anew. A client that wants to
//! resume, and keeps all that a server gives it, against every listener of a real server.

mod stage;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use klnet_server::fabric::Fabric;
use klnet_tests::scale;
use klnet_wire::identity::Role;
use klnet_wire::identity::tls::{
    ALPN_AGENT, ALPN_HTTP, Clients, Identity, Shown, client_config, server_config,
};
use rustls::client::{ClientConfig, Resumption};
use rustls::pki_types::ServerName;
use rustls::{HandshakeKind, ServerConfig};
use stage::Stage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// How often a client comes back to each listener.
const TIMES: (u32, u32) = (100, 10_000);

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_to_any_listener_begins_anew() -> Result<()> {
    let stage = Stage::set().await?;
    let device = stage.enrolled("web-7").await?.identity()?;
    let operator = &stage.profile.identity;
    let ports = stage.ports;
    for (port, identity, alpn) in [
        (ports.https, operator, ALPN_HTTP),
        (ports.https, &device, ALPN_HTTP),
        (ports.agents, &device, ALPN_AGENT),
    ] {
        let resumed = resumed(&eager(&stage, identity, alpn)?, port).await?;
        ensure!(resumed == 0, "port {port}: {resumed} resumed");
    }
    Ok(())
}

/// The negative control: the same client is resumed by a server of the same certificates that gives tickets.
#[tokio::test]
async fn the_client_of_these_tests_resumes_where_it_may() -> Result<()> {
    let stage = Stage::set().await?;
    let fabric = Fabric::load(&stage.path("server"))?;
    let identity = fabric.server_identity(&["localhost".into()], SystemTime::now())?;
    let clients = Clients::Optional(&[Role::Operator]);
    let safe =
        server_config(&Shown::new(&identity), stage.profile.trust.clone(), None, clients, &[ALPN_HTTP])?;
    let mut config = ServerConfig::clone(&safe);
    let tickets = rustls::crypto::ring::Ticketer::new()?;
    (config.ticketer, config.send_tls13_tickets) = (tickets, 2);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = stream.write_all(b"!").await;
            let _ = stream.read(&mut [0]).await;
        }
    });
    let resumed = resumed(&eager(&stage, &stage.profile.identity, ALPN_HTTP)?, port).await?;
    ensure!(resumed > 0, "the test notices nothing");
    Ok(())
}

/// A client that keeps every ticket.
fn eager(stage: &Stage, identity: &Identity, alpn: &[u8]) -> Result<Arc<ClientConfig>> {
    let config = client_config(Some(identity), stage.profile.trust.clone(), &[alpn])?;
    let mut config = ClientConfig::clone(&config);
    config.resumption = Resumption::in_memory_sessions(64);
    Ok(Arc::new(config))
}

/// Comes back again and again; says how often the session before was resumed.
async fn resumed(config: &Arc<ClientConfig>, port: u16) -> Result<u32> {
    let (connector, name) = (TlsConnector::from(Arc::clone(config)), ServerName::try_from("localhost")?);
    let mut resumed = 0;
    for _ in 0..scale(TIMES.0, TIMES.1) {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let mut stream = connector.connect(name.clone(), stream).await?;
        // Tickets come after the handshake, and before whatever the server says to this.
        stream.write_all(&NONSENSE).await?;
        let _ = timeout(TICKETS, stream.read(&mut [0; 64])).await;
        resumed += u32::from(stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed));
    }
    Ok(resumed)
}

/// Neither a request nor a frame.
const NONSENSE: [u8; 64] = [0xff; 64];
/// How long a ticket is waited for; a server that gives none says something, or closes.
const TICKETS: Duration = Duration::from_secs(1);
