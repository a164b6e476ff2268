//! As much of a server's API as `klsctunnel` asks: grants for the device `web-7`, over HTTPS with certificates.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::SystemTime;

use klnet_tunnel::grant::Host;
use klnet_tunnel::net::request::{GrantReply, GrantRequest};
use klnet_wire::identity::authority::{Authority, Leaf, OPERATOR_LIFE, make_root};
use klnet_wire::identity::profile::Profile;
use klnet_wire::identity::tls::{ALPN_HTTP, Clients, Identity, Shown, server_config};
use klnet_wire::identity::{Principal, Role};
use klnet_wire::signing::SigningKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::world::{OPERATOR, SERVER, TENANT, World};

pub(crate) struct Api {
    state: Arc<State>,
}

struct State {
    world: Arc<World>,
    grants: AtomicUsize,
    /// The HTTP status with which everything is refused; 0 for none.
    refusal: AtomicU16,
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
        let tls =
            server_config(&Shown::new(&own), authority.trust().clone(), None, clients, &[ALPN_HTTP]).unwrap();
        let state = Arc::new(State { world, grants: AtomicUsize::new(0), refusal: AtomicU16::new(0) });
        tokio::spawn(serve(listener, TlsAcceptor::from(tls), state.clone()));
        Self { state }
    }

    /// Refuses everything with an HTTP status from now on; nothing with 0.
    pub(crate) fn refuse_with(&self, status: u16) {
        self.state.refusal.store(status, Ordering::SeqCst);
    }

    /// How many grants were given.
    pub(crate) fn grants(&self) -> usize {
        self.state.grants.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        answer(stream, &tls, &state).await;
    }
}

async fn answer(stream: TcpStream, tls: &TlsAcceptor, state: &State) {
    let mut stream = tls.accept(stream).await.unwrap();
    let request: GrantRequest = serde_json::from_slice(&body(&mut stream).await).unwrap();
    let (status, body) = match (state.refusal.load(Ordering::SeqCst), request.device.as_str()) {
        (0, "web-7") => (200, state.grant(&request).await),
        (0, _) => (404, r#"{"error":"there is no such device"}"#.to_owned()),
        (refusal, _) => (refusal, format!(r#"{{"error":"refused with {refusal}"}}"#)),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status} So\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let _ = stream.shutdown().await;
}

impl State {
    async fn grant(&self, request: &GrantRequest) -> String {
        self.grants.fetch_add(1, Ordering::SeqCst);
        let mut grant = self.world.grant(request.port);
        if let Some(host) = &request.host {
            grant.host = Host::parse(host).unwrap();
        }
        let blob = self.world.mint(grant).await;
        let reply = GrantReply {
            grant: blob.grant.id.to_string(),
            device: blob.grant.device.to_string(),
            blob: blob.to_string(),
            expires: blob.expires,
            session_seconds: blob.grant.session.as_secs(),
        };
        serde_json::to_string(&reply).unwrap()
    }
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
