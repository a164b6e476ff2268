//! An HTTP server of this process, as slow as it is told to be.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::rig::Rig;

/// It serves as long as the process lives.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    delay: AtomicU64,
    answered: Mutex<Option<Instant>>,
}

impl Origin {
    /// Listens on the machine of those who ask.
    pub(super) fn start(rig: &Rig) -> Result<Self> {
        let listener = rig.client.inside(|| TcpListener::bind((rig.client.address(), 8000)))??;
        let (address, seen) = (listener.local_addr()?, Arc::<Seen>::default());
        let serving = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&serving);
                // Who goes away gets no answer.
                std::thread::spawn(move || seen.answer(stream));
            }
        });
        Ok(Self { address, seen })
    }

    /// Makes it answer so long after it was asked.
    pub(super) fn delay(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.seen.delay.store(delay, Ordering::Relaxed);
    }

    /// How many requests came.
    pub(super) fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::Relaxed)
    }

    /// When the last one was answered.
    pub(super) fn answered(&self) -> Option<Instant> {
        *self.seen.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// One request; its head fits into one segment.
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let _ = stream.read(&mut [0; 4096])?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(self.delay.load(Ordering::Relaxed)));
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let length = BODY.len();
        let head = format!(
            "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{BODY}"
        );
        stream.write_all(head.as_bytes())
    }
}

/// A verdict, as ours gives it.
pub(super) const BODY: &str = r#"{"reputation":"malicious","category":"malware","confidence":90,"source":0,"ttl":86400,"age":0,"stale":false,"partial":false}"#;
