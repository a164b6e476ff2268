//! One pair's wait for a shared rate.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::Sleep;

use super::Bucket;
use crate::net::clock::now;

/// Holds back reading while the bucket is empty; what was read before is still written.
#[derive(Debug)]
pub(super) struct Throttle {
    bucket: Arc<Bucket>,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Throttle {
    pub(super) fn new(bucket: Arc<Bucket>) -> Self {
        Self { bucket, wait: None }
    }

    /// Ready while bytes may be read.
    pub(super) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            match self.bucket.closed_until(now()) {
                Some(open) => self.wait = Some(Box::pin(tokio::time::sleep_until(open.into()))),
                None => return Poll::Ready(()),
            }
        }
    }

    /// Pays for bytes that were read.
    pub(super) fn spend(&self, bytes: usize) {
        self.bucket.spend(now(), bytes);
    }
}
