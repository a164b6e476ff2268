//! A socket that waits for its other half.
//!
//! One that is joined in the turn it came in waits for nothing. Any other is watched where its pair will run, so that the
//! task which moves the pair has the socket from its own thread, and no other is woken for it.

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::report::Report;
use crate::net::lanes::{Place, settle};
use crate::net::socket;
use crate::pair::ConnId;

/// A socket until it is taken; it closes when this is dropped.
#[derive(Debug)]
pub(super) enum Parked {
    /// It has just come.
    Fresh(TcpStream),
    /// It waits.
    Watched(Watched),
}

/// A socket that a task on a lane has.
#[derive(Debug)]
pub(super) struct Watched {
    recall: oneshot::Sender<()>,
    task: JoinHandle<Option<TcpStream>>,
    /// Of the pair that it will be one of; gone once that has it.
    place: Option<Place>,
}

impl Watched {
    /// Watches a socket at `place`; [`Report::Gone`] tells when its peer closes first.
    pub(super) fn new(conn: ConnId, stream: TcpStream, place: Place, reports: mpsc::Sender<Report>) -> Self {
        let (recall, recalled) = oneshot::channel();
        let task = place.spawn(async move {
            let Ok(stream) = settle(stream) else {
                let _ = reports.send(Report::Gone(conn)).await;
                return None;
            };
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
        Self { recall, task, place: Some(place) }
    }
}

impl Parked {
    /// The place that a socket has waited at, once.
    pub(super) fn take_place(&mut self) -> Option<Place> {
        match self {
            Self::Fresh(_) => None,
            Self::Watched(watched) => watched.place.take(),
        }
    }

    /// Takes the socket, for the lane this is called on; `None` when its peer has closed.
    pub(super) async fn take(self) -> Option<TcpStream> {
        let Watched { recall, task, place } = match self {
            Self::Fresh(stream) => return settle(stream).ok(),
            Self::Watched(watched) => watched,
        };
        // An error means that the watch is over: then there is no socket either.
        let _ = recall.send(());
        let stream = task.await.ok().flatten()?;
        match place {
            None => Some(stream),
            // It has waited at another place than its pair's.
            Some(_) => settle(stream).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::net::lanes::Lanes;

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
        let watched = Watched::new(ConnId(7), stream, Lanes::current().place(), reporter);
        (peer, Parked::Watched(watched), reports)
    }
}
