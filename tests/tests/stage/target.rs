//! A service on the device's loopback that sends everything back, and counts who came.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use klnet_tunnel::net::accept::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

pub(crate) struct Target {
    pub(crate) port: u16,
    accepted: Arc<AtomicUsize>,
}

impl Target {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        tokio::spawn(async move {
            let mut acceptor = Acceptor::new(listener);
            loop {
                let (mut stream, _) = acceptor.accept().await;
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    // Whoever connected may leave at any time.
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                    let _ = writer.shutdown().await;
                });
            }
        });
        Ok(Self { port, accepted })
    }

    /// Connections that ever came.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Sends `bytes` and wants them back; says how long it took.
pub(crate) async fn echoes(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    bytes: &[u8],
) -> Result<Duration> {
    let start = Instant::now();
    let mut back = vec![0; bytes.len()];
    timeout(ECHO_TIMEOUT, async {
        stream.write_all(bytes).await?;
        stream.flush().await?;
        stream.read_exact(&mut back).await
    })
    .await??;
    ensure!(back == bytes, "the echo differs");
    Ok(start.elapsed())
}

const ECHO_TIMEOUT: Duration = Duration::from_secs(10);
