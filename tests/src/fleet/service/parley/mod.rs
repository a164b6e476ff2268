//! Conversations of which each end can tell how they ended: whole, broken, or cut short without a word.
//!
//! Both ends say frames of a seeded stream that the other knows beforehand, and a closing frame at last. So an end of
//! file before the closing frame is a truncation that TCP itself would not show, and a byte that is lost, doubled or
//! changed is seen at once.

mod frame;
mod mouth;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

use crate::lab::Host;
use crate::sim::Rng;
use frame::{Heard, hear};
use mouth::{Manner, Mouth};

/// How much the two ends say, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// Both as much as the line takes.
    Bulk,
    /// The caller as much as the line takes, the service nothing.
    Up,
    /// The service as much as the line takes, the caller nothing.
    Down,
    /// In turns, a few bytes at a time.
    Chat,
    /// Nothing until the end.
    Quiet,
}

/// How a conversation ended, as one end sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every byte, and the closing frame behind them.
    Whole,
    /// An error: whoever talked knows that something is missing.
    Broken(io::ErrorKind),
    /// An end of file with bytes missing: nobody would know.
    Truncated,
    /// Bytes that were never sent.
    Corrupt,
    /// Neither bytes nor an end for too long.
    Stuck,
}

/// A service that holds conversations; gone once dropped.
#[derive(Debug)]
pub struct Parley {
    host: Host,
    port: u16,
    endings: Endings,
    /// The service ends with it.
    open: Arc<()>,
}

/// Every conversation that came here, and how it ended once it has.
type Endings = Arc<Mutex<BTreeMap<u64, Option<Ending>>>>;

/// A conversation as the caller has it.
#[derive(Debug)]
pub struct Call {
    id: u64,
    mouth: Arc<Mouth>,
    thread: JoinHandle<Ending>,
}

impl Talk {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Bulk, Self::Up, Self::Down, Self::Chat, Self::Quiet];

    /// How the caller and the service speak.
    const fn manners(self) -> [Manner; 2] {
        match self {
            Self::Bulk => [Manner::Flood, Manner::Flood],
            Self::Up => [Manner::Flood, Manner::Silent],
            Self::Down => [Manner::Silent, Manner::Flood],
            Self::Chat => [Manner::Answer, Manner::Answer],
            Self::Quiet => [Manner::Silent, Manner::Silent],
        }
    }
}

impl Parley {
    /// Serves on a free port of the host's loopback.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub fn start(host: &Host) -> Result<Self> {
        let listener = host.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))??;
        let port = listener.local_addr()?.port();
        let (endings, open) = (Endings::default(), Arc::new(()));
        let (book, wanted) = (Arc::clone(&endings), Arc::downgrade(&open));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if wanted.strong_count() == 0 {
                    return;
                }
                let book = Arc::clone(&book);
                std::thread::spawn(move || serve(&stream, &book));
            }
        });
        Ok(Self { host: host.clone(), port, endings, open })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether a conversation has come here.
    #[must_use]
    pub fn knows(&self, id: u64) -> bool {
        self.endings.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&id)
    }

    /// How a conversation ended here; `None` when it never came, or goes on.
    #[must_use]
    pub fn ending(&self, id: u64) -> Option<Ending> {
        self.endings.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied().flatten()
    }
}

impl Drop for Parley {
    fn drop(&mut self) {
        self.open = Arc::new(());
        // One connection more wakes the thread.
        let _ = self.host.inside(|| TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

impl Call {
    /// Begins conversation `id` on a connection that leads to a [`Parley`].
    ///
    /// # Errors
    /// When the connection is gone already.
    pub fn begin(mut stream: TcpStream, id: u64, talk: Talk) -> Result<Self> {
        let which = Talk::ALL.iter().position(|one| *one == talk).unwrap_or_default();
        stream.set_nodelay(true)?;
        let mut hello = id.to_be_bytes().to_vec();
        hello.push(u8::try_from(which)?);
        stream.write_all(&hello)?;
        let [manner, _] = talk.manners();
        let mouth = Arc::new(Mouth::new(manner));
        let shared = Arc::clone(&mouth);
        let thread = std::thread::spawn(move || converse(&stream, [id, !id], &shared, false));
        Ok(Self { id, mouth, thread })
    }

    /// Which one it is.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How many frames of the service have come.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.mouth.heard()
    }

    /// Says the closing frame soon; the service does the same then.
    pub fn close(&self) {
        self.mouth.close();
    }

    /// Whether there is an end.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// How it ended; waits for that.
    ///
    /// # Panics
    /// When the conversation did.
    #[must_use]
    pub fn ending(self) -> Ending {
        self.thread.join().expect("a conversation does not panic")
    }
}

/// Reads who calls, answers, and notes how it ended.
fn serve(stream: &TcpStream, book: &Endings) {
    // Who leaves before saying who it is has no conversation.
    let Ok((id, talk)) = greeted(stream) else { return };
    let note = |ending| book.lock().unwrap_or_else(PoisonError::into_inner).insert(id, ending);
    note(None);
    let [_, manner] = talk.manners();
    note(Some(converse(stream, [!id, id], &Mouth::new(manner), true)));
}

fn greeted(mut stream: &TcpStream) -> io::Result<(u64, Talk)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut hello = [0; 9];
    stream.read_exact(&mut hello)?;
    let [id @ .., which] = hello;
    let talk = Talk::ALL.get(usize::from(which)).ok_or(io::ErrorKind::InvalidData)?;
    Ok((u64::from_be_bytes(id), *talk))
}

/// Speaks and hears until there is an end; whoever `answers` closes once the other end has.
fn converse(stream: &TcpStream, [own, other]: [u64; 2], mouth: &Mouth, answers: bool) -> Ending {
    for set in [stream.set_read_timeout(Some(PATIENCE)), stream.set_write_timeout(Some(PATIENCE))] {
        if let Err(error) = set {
            return Ending::Broken(error.kind());
        }
    }
    std::thread::scope(|scope| {
        let speaking = scope.spawn(|| mouth.speak(stream, Rng::new(own)));
        let heard = listen(stream, Rng::new(other), mouth, answers);
        if heard != Ending::Whole {
            mouth.fall_silent();
            let _ = stream.shutdown(Shutdown::Both);
        }
        match (heard, speaking.join().expect("a speaker does not panic")) {
            // The kernel tells of a reset once, to whichever of the two asks first.
            (Ending::Truncated, Err(error)) => Ending::Broken(error.kind()),
            (heard, _) => heard,
        }
    })
}

fn listen(stream: &TcpStream, mut expected: Rng, mouth: &Mouth, answers: bool) -> Ending {
    loop {
        match hear(stream, &mut expected) {
            Ok(Heard::Frame) => mouth.hear(),
            Ok(Heard::Closing) => {
                if answers {
                    mouth.close();
                }
                return Ending::Whole;
            }
            Ok(Heard::Other) => return Ending::Corrupt,
            Ok(Heard::End) if mouth.is_cut_off(stream) => {
                return Ending::Broken(io::ErrorKind::ConnectionReset);
            }
            Ok(Heard::End) => return Ending::Truncated,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ending::Stuck;
            }
            Err(error) => return Ending::Broken(error.kind()),
        }
    }
}

/// Longer than anything is allowed to take: a dead peer is noticed within 30 s, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
