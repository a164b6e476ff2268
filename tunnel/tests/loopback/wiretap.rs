//! A wire between initiator and relay that keeps the first flight, can send it in pieces, and can break.

use std::sync::{Arc, Mutex};

use klnet_tunnel::hello::{self, Parsed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Stands in front of a relay's port.
pub(crate) struct Wiretap {
    pub(crate) port: u16,
    flights: Arc<Mutex<Vec<Vec<u8>>>>,
    /// How often the connections that were there have been cut, and silenced.
    cuts: watch::Sender<u32>,
    silences: watch::Sender<u32>,
}

impl Wiretap {
    /// Passes everything on, first flights in segments of `segment` bytes.
    pub(crate) async fn start(relay: u16, segment: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let flights = Arc::new(Mutex::new(Vec::new()));
        let kept = flights.clone();
        let (cuts, silences) = (watch::Sender::new(0), watch::Sender::new(0));
        let (each_cut, each_silence) = (cuts.clone(), silences.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (kept, mut cut, mut silenced) =
                    (kept.clone(), each_cut.subscribe(), each_silence.subscribe());
                tokio::spawn(async move {
                    let flight = first_flight(&mut client).await;
                    kept.lock().unwrap().push(flight.clone());
                    let mut server = TcpStream::connect(("127.0.0.1", relay)).await.unwrap();
                    server.set_nodelay(true).unwrap();
                    for piece in flight.chunks(segment) {
                        server.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = cut.changed() => {}
                        _ = silenced.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { port, flights, cuts, silences }
    }

    /// Ends the connections that are there.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Carries nothing more on the connections that are there, as a middlebox does that has forgotten them.
    pub(crate) fn silence(&self) {
        self.silences.send_modify(|silences| *silences += 1);
    }

    /// The first flights seen so far.
    pub(crate) fn flights(&self) -> Vec<Vec<u8>> {
        self.flights.lock().unwrap().clone()
    }
}

async fn first_flight(client: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !matches!(hello::parse(&bytes), Ok(Parsed::Hello(_))) {
        bytes.push(client.read_u8().await.unwrap());
    }
    bytes
}
