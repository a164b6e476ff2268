//! A service that is asked something to the end before it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::bytes::{ANSWER, pattern};

/// A service that takes a question to its end, and answers when it is told to.
pub(crate) struct Questions {
    pub(crate) port: u16,
    asked: Arc<AtomicUsize>,
    answer: watch::Sender<bool>,
}

impl Questions {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (port, answer) = (listener.local_addr()?.port(), watch::Sender::new(false));
        let (asked, told) = (Arc::new(AtomicUsize::new(0)), answer.subscribe());
        let counter = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (counter, mut told) = (Arc::clone(&counter), told.clone());
                tokio::spawn(async move {
                    let mut question = Vec::new();
                    if stream.read_to_end(&mut question).await.is_ok() && question == b"question" {
                        counter.fetch_add(1, Ordering::SeqCst);
                    }
                    let _ = told.wait_for(|told| *told).await;
                    let _ = stream.write_all(&pattern(0, ANSWER)).await;
                });
            }
        });
        Ok(Self { port, asked, answer })
    }

    /// How many were asked to their end.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Answers them all.
    pub(crate) fn answer(&self) {
        self.answer.send_replace(true);
    }
}
