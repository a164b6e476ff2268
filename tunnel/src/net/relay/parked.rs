//! A socket that waits for its other half.

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::driver::Report;
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
