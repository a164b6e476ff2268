//! What anyone may read in clear: one small answer for each connection, and then it is closed.

use std::sync::Arc;
use std::time::Duration;

use klnet_tunnel::net::accept::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What is answered.
pub(crate) struct Page {
    pub(crate) media_type: &'static str,
    pub(crate) body: Vec<u8>,
}

/// Answers whatever is asked with what `page` gives for the path, until shutdown.
pub(crate) async fn serve<F>(listener: TcpListener, page: F, shutdown: CancellationToken)
where
    F: Fn(&str) -> Page + Send + Sync + 'static,
{
    let (mut acceptor, page, seats) =
        (Acceptor::new(listener), Arc::new(page), Arc::new(Semaphore::new(SEATS)));
    loop {
        let (stream, _) = tokio::select! {
            accepted = acceptor.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let Ok(seat) = Arc::clone(&seats).try_acquire_owned() else { continue };
        let page = Arc::clone(&page);
        tokio::spawn(async move {
            let _ = timeout(ANSWER_TIMEOUT, answer(stream, &*page)).await;
            drop(seat);
        });
    }
}

async fn answer(mut stream: TcpStream, page: &(impl Fn(&str) -> Page + Sync)) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let length = stream.read(&mut request).await?;
    let line = String::from_utf8_lossy(&request[..length]);
    let Page { media_type, body } = page(line.split(' ').nth(1).unwrap_or_default());
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}

/// Answers under way at once; above it a connection is closed.
const SEATS: usize = 64;
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
