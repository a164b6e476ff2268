//! Where tasks of the runtime get their answers: the same responder, cache and core that workers use.

use std::sync::{Mutex, MutexGuard, PoisonError};

use klnet_wire::identity::Principal;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::clock::moment;
use super::fetch::{Ask, Asks};
use super::inbox::Waiter;
use crate::counters::Counter;
use crate::frame::{self, Header, Malformed, Op, Reason};
use crate::responder::{Channel, Responder, Response};
use crate::subject::Key;
use crate::ticket::{Full, Ticket};
use crate::verdict::Verdict;

/// A responder that tasks share.
#[derive(Debug)]
pub(super) struct Desk {
    responder: Mutex<Responder>,
    asks: Asks,
}

impl Desk {
    pub(super) const fn new(responder: Responder, asks: Asks) -> Self {
        Self { responder: Mutex::new(responder), asks }
    }

    /// Answers one frame of a device within TLS.
    ///
    /// # Errors
    /// [`Malformed`]: the connection is to be closed.
    pub(super) async fn frame(
        &self,
        device: &Principal,
        header: Header,
        frame: &mut [u8],
        output: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        if (header.op, header.sealed) == (Op::Ticket, false) {
            match self.ticket(device) {
                Ok(ticket) => frame::encode_issued(header, &ticket, output),
                Err(Full(_)) => output.extend(header.bare(Op::Refused, Reason::Rate as u8, 0)),
            }
            return Ok(());
        }
        let begin = output.len();
        output.resize(begin + frame.len(), 0);
        let room = &mut output[begin..];
        let response = self.responder().respond(moment(), Channel::Tls(device.id), frame, room);
        let length = match response {
            Response::Answer(length) => length,
            Response::Silence => 0,
            Response::Close => return Err(Malformed),
            Response::Waiting(mut waiting) => {
                let asked: Vec<_> =
                    waiting.missing().iter().map(|(place, key)| (*place, self.ask(*key))).collect();
                for (place, asked) in asked {
                    waiting.take(place, &asked.await.unwrap_or(BUSY));
                }
                waiting.finish(&mut output[begin..])
            }
        };
        output.truncate(begin + length);
        self.refresh();
        Ok(())
    }

    /// The verdicts of some keys for somebody who may ask; `None` when they ask too much.
    pub(super) async fn verdicts(&self, who: [u8; 16], keys: &[Key]) -> Option<Vec<Verdict>> {
        let mut verdicts = Vec::with_capacity(keys.len());
        {
            let (mut responder, now) = (self.responder(), moment());
            if !responder.shared().limiter.admits(&who, keys.len() as u64, now.instant) {
                responder.counters().count(Counter::Limited);
                return None;
            }
            verdicts.extend(keys.iter().map(|key| responder.lookup(now, key)));
            let known = verdicts.iter().flatten().count() as u64;
            responder.counters().add(Counter::Received, keys.len() as u64);
            responder.counters().add(Counter::Served, known);
        }
        self.refresh();
        // All of what is missing is asked for before any of it is waited for.
        let missing: Vec<_> = keys
            .iter()
            .zip(&verdicts)
            .map(|(key, verdict)| verdict.is_none().then(|| self.ask(*key)))
            .collect();
        let mut all = Vec::with_capacity(keys.len());
        for (verdict, asked) in verdicts.into_iter().zip(missing) {
            all.push(match (verdict, asked) {
                (Some(verdict), _) => verdict,
                (None, Some(asked)) => asked.await.unwrap_or(BUSY),
                (None, None) => BUSY,
            });
        }
        Some(all)
    }

    /// A new ticket for a device.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn ticket(&self, device: &Principal) -> Result<Ticket, Full> {
        let mut random = Zeroizing::new([0; 24]);
        SystemRandom::new().fill(random.as_mut_slice()).expect("the operating system gives randomness");
        let responder = self.responder();
        let ticket = responder.shared().tickets.issue(device.id, &device.serial, &random, moment().unix)?;
        responder.counters().count(Counter::Tickets);
        Ok(ticket)
    }

    /// Whether whoever shows no certificate is answered.
    pub(super) fn allows_plain(&self) -> bool {
        self.responder().shared().allow_plain
    }

    fn ask(&self, key: Key) -> oneshot::Receiver<Verdict> {
        let (sender, receiver) = oneshot::channel();
        if let Err(error) = self.asks.try_send(Ask { key, waiter: Some(Waiter::Task(sender)) }) {
            self.responder().counters().count(Counter::RejectedFull);
            // With it goes the sender, so that nobody waits.
            drop(error);
        }
        receiver
    }

    fn refresh(&self) {
        for key in self.responder().drain_refresh() {
            // Above the limit: whoever asks for it next wants it again.
            let _ = self.asks.try_send(Ask { key, waiter: None });
        }
    }

    fn responder(&self) -> MutexGuard<'_, Responder> {
        self.responder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said when no question more is taken.
const BUSY: Verdict = Verdict::unavailable(std::time::Duration::from_secs(1));
