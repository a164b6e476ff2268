//! The speaking half of a conversation's end.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::frame::{LARGEST, say};
use crate::sim::Rng;

/// When an end speaks before it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Whenever the line takes it.
    Flood,
    /// Once, and then whenever it has heard something.
    Answer,
    /// Never.
    Silent,
}

/// What the speaking half knows of the listening one.
#[derive(Debug)]
pub(super) struct Mouth {
    manner: Manner,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    heard: u64,
    said: u64,
    closing: bool,
    /// The connection is of no use any more.
    over: bool,
    /// The end of the stream was passed on.
    shut: bool,
    failed: bool,
}

/// What to do next.
enum Next {
    Frame,
    Closing,
    Nothing,
}

impl Mouth {
    pub(super) fn new(manner: Manner) -> Self {
        Self { manner, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Speaks until it may close or has to fall silent.
    pub(super) fn speak(&self, stream: &TcpStream, mut source: Rng) -> io::Result<()> {
        let mut lengths = source.clone();
        let spoken = loop {
            let said = match self.next() {
                Next::Nothing => break Ok(()),
                Next::Closing => break say(stream, &mut source, 0).and_then(|()| self.shut(stream)),
                Next::Frame => say(stream, &mut source, lengths.within(self.lengths())),
            };
            if said.is_err() {
                break said;
            }
        };
        self.state().failed = spoken.is_err();
        spoken
    }

    /// A frame of the other end has come.
    pub(super) fn hear(&self) {
        self.change(|state| state.heard += 1);
    }

    /// How many have.
    pub(super) fn heard(&self) -> u64 {
        self.state().heard
    }

    pub(super) fn close(&self) {
        self.change(|state| state.closing = true);
    }

    pub(super) fn fall_silent(&self) {
        self.change(|state| state.over = true);
    }

    /// Whether an end of file is what a reset left behind, whose error the speaking half has taken.
    ///
    /// A connection that was reset has no peer any more. One that both ends have shut has none either, but there nobody
    /// speaks who could have taken the error.
    pub(super) fn is_cut_off(&self, stream: &TcpStream) -> bool {
        let state = self.state();
        !state.shut && (state.failed || stream.peer_addr().is_err())
    }

    fn next(&self) -> Next {
        let mut state = self.state();
        loop {
            if state.over {
                return Next::Nothing;
            }
            if state.closing {
                return Next::Closing;
            }
            let may = match self.manner {
                Manner::Flood => true,
                Manner::Answer => state.said <= state.heard,
                Manner::Silent => false,
            };
            if may {
                state.said += 1;
                return Next::Frame;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn shut(&self, stream: &TcpStream) -> io::Result<()> {
        self.state().shut = true;
        stream.shutdown(Shutdown::Write)
    }

    fn lengths(&self) -> std::ops::Range<usize> {
        match self.manner {
            Manner::Flood => LARGEST / 4..LARGEST,
            Manner::Answer | Manner::Silent => 1..200,
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
