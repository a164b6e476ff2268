//! As much of a server's API as `klsctunnel` asks: grants for the device `web-7`, over HTTPS with certificates.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use klnet_tunnel::net::request::{GrantReply, GrantRequest};
use klnet_wire::identity::authority::{Authority, Leaf, OPERATOR_LIFE, make_root};
use klnet_wire::identity::profile::Profile;
use klnet_wire::identity::tls::{ALPN_HTTP, Clients, Identity, server_config};
use klnet_wire::identity::{Principal, Role};
use klnet_wire::signing::SigningKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::world::{OPERATOR, SERVER, TENANT, World};

pub(crate) struct Api {
    grants: Arc<AtomicUsize>,
}

impl Api {
    /// Serves the API and writes the profile of the world's operator.
    pub(crate) async fn start(world: Arc<World>, profile: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = authority();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let identity = identity(&authority, Role::Operator, *OPERATOR.as_bytes(), world.operator.clone());
        let trust = authority.trust().clone();
        Profile { url, name: "anna".into(), trust, identity }.save(profile).unwrap();
        let own = identity_of_server(&authority);
        let clients = Clients::Required(&[Role::Operator]);
        let tls = server_config(&own, authority.trust().clone(), clients, &[ALPN_HTTP]).unwrap();
        let grants = Arc::new(AtomicUsize::new(0));
        tokio::spawn(serve(listener, TlsAcceptor::from(tls), world, grants.clone()));
        Self { grants }
    }

    /// How many grants were given.
    pub(crate) fn grants(&self) -> usize {
        self.grants.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, world: Arc<World>, grants: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        answer(stream, &tls, &world, &grants).await;
    }
}

async fn answer(stream: TcpStream, tls: &TlsAcceptor, world: &World, grants: &AtomicUsize) {
    let mut stream = tls.accept(stream).await.unwrap();
    let request: GrantRequest = serde_json::from_slice(&body(&mut stream).await).unwrap();
    let (status, body) = match request.device.as_str() {
        "web-7" => {
            grants.fetch_add(1, Ordering::SeqCst);
            let blob = world.blob(request.port).await;
            let reply = GrantReply {
                grant: blob.grant.id.to_string(),
                device: blob.grant.device.to_string(),
                blob: blob.to_string(),
                expires: blob.expires,
                session_seconds: blob.grant.session.as_secs(),
            };
            ("200 OK", serde_json::to_string(&reply).unwrap())
        }
        _ => ("404 Not Found", r#"{"error":"there is no such device"}"#.to_owned()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let _ = stream.shutdown().await;
}

async fn body(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    body
}

fn authority() -> Authority {
    let (root, now) = (SigningKey::generate_p256(), SystemTime::now());
    let trust = make_root(&root, now).unwrap();
    Authority::make(trust, &root, SigningKey::generate_p256(), now).unwrap()
}

fn identity_of_server(authority: &Authority) -> Identity {
    identity(authority, Role::Server, *SERVER.as_bytes(), SigningKey::generate_p256())
}

fn identity(authority: &Authority, role: Role, id: [u8; 16], key: SigningKey) -> Identity {
    let fabric = authority.trust().fabric();
    let principal = Principal { fabric, tenant: TENANT, role, id, serial: Vec::new() };
    let leaf = Leaf::new(principal, vec!["127.0.0.1".into()], SystemTime::now(), OPERATOR_LIFE);
    Identity { chain: authority.issue(key.public(), &leaf).unwrap(), key }
}
