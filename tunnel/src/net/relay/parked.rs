//! A socket that waits for its other half.

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::report::Report;
use crate::net::socket;
use crate::pair::ConnId;

/// Watches a socket until it is taken; closes it when dropped.
#[derive(Debug)]
pub(super) struct Parked {
    recall: oneshot::Sender<()>,
    task: JoinHandle<Option<TcpStream>>,
}

impl Parked {
    /// Parks a socket; [`Report::Gone`] tells when its peer closes first.
    pub(super) fn new(conn: ConnId, stream: TcpStream, reports: mpsc::Sender<Report>) -> Self {
        let (recall, recalled) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                biased;
                recalled = recalled => recalled.ok().map(|()| stream),
                () = socket::closed(&stream) => {
                    // Without the driver nobody waits for the report.
                    let _ = reports.send(Report::Gone(conn)).await;
                    None
                }
            }
        });
        Self { recall, task }
    }

    /// Takes the socket; `None` when its peer has closed.
    pub(super) async fn take(self) -> Option<TcpStream> {
        // An error means that the watch is over: then there is no socket either.
        let _ = self.recall.send(());
        self.task.await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_parked_socket_is_taken_with_all_that_came_meanwhile() {
        let (mut peer, parked, _reports) = park().await;
        peer.write_all(b"first flight").await.unwrap();
        tokio::task::yield_now().await;
        let mut stream = parked.take().await.unwrap();
        let mut bytes = [0; 12];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"first flight");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_parked_socket_whose_peer_closes_is_reported_and_cannot_be_taken() {
        let (mut peer, parked, mut reports) = park().await;
        peer.write_all(b"unread bytes do not hide the close").await.unwrap();
        drop(peer);
        assert!(matches!(reports.recv().await, Some(Report::Gone(ConnId(7)))));
        assert!(parked.take().await.is_none());
    }

    #[tokio::test]
    async fn a_parked_socket_that_is_dropped_closes() {
        let (mut peer, parked, _reports) = park().await;
        drop(parked);
        assert_eq!(peer.read(&mut [0; 1]).await.unwrap(), 0);
    }

    async fn park() -> (TcpStream, Parked, mpsc::Receiver<Report>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (reporter, reports) = mpsc::channel(1);
        let (stream, _) = listener.accept().await.unwrap();
        (peer, Parked::new(ConnId(7), stream, reporter), reports)
    }
}
