//! The thread that restores blocks, compares hashes and writes: the network never waits for it.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use super::room::Bell;
use super::store::{Store, StoreError};
use crate::erasure::Codec;
use crate::layout::Layout;
use crate::symbols::SymbolSet;

/// The worker as the network's thread sees it.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Done>,
    bell: Bell,
    thread: Option<JoinHandle<()>>,
}

/// What the worker is to do for a session.
#[derive(Debug)]
pub(super) enum Job {
    /// Look for what is there.
    Open(u64, Box<Store>, Layout),
    /// Restore a block, verify and write it.
    Block(u64, Block),
    /// Give the object its name.
    Finish(u64),
    /// The session is over.
    Close(u64),
}

/// A block in memory.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) block: u32,
    pub(super) have: SymbolSet,
    pub(super) symbols: Vec<u8>,
}

/// What the worker did.
#[derive(Debug)]
pub(super) enum Done {
    /// These blocks are there.
    Found(u64, Vec<u32>),
    /// A block was restored.
    Block {
        session: u64,
        block: u32,
        fits: bool,
        repaired: u16,
        /// What was there of it, when it was not what was signed.
        spoilt: Option<SymbolSet>,
        /// Free for another block, or what is to be compared with tags.
        symbols: Vec<u8>,
    },
    /// The object has its name.
    Finished(u64, Vec<PathBuf>),
    /// It cannot be taken now.
    Failed(u64, StoreError),
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, todo) = sync_channel(QUEUE);
        let (tell, done) = channel();
        let bell = Bell::new()?;
        let desk = Desk { tell, bell: bell.clone(), codec: Codec::default(), open: HashMap::new() };
        let thread =
            std::thread::Builder::new().name("klcast-disk".to_owned()).spawn(move || desk.work(&todo))?;
        Ok(Self { jobs: Some(jobs), done, bell, thread: Some(thread) })
    }

    /// Gives it something to do; waits while it has enough.
    pub(super) fn give(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // It ends only when this does.
            let _ = jobs.send(job);
        }
    }

    /// What it has done since the last time.
    pub(super) fn done(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }

    /// Rings when something is done.
    pub(super) const fn bell(&self) -> &Bell {
        &self.bell
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Desk {
    tell: Sender<Done>,
    bell: Bell,
    codec: Codec,
    open: HashMap<u64, (Box<Store>, Layout)>,
}

impl Desk {
    fn work(mut self, todo: &Receiver<Job>) {
        while let Ok(job) = todo.recv() {
            match job {
                Job::Open(session, mut store, layout) => {
                    let found = store.resume();
                    self.open.insert(session, (store, layout));
                    self.tell(Done::Found(session, found));
                }
                Job::Block(session, block) => self.block(session, block),
                Job::Finish(session) => self.finish(session),
                Job::Close(session) => {
                    self.open.remove(&session);
                }
            }
        }
    }

    fn block(&mut self, session: u64, block: Block) {
        let Block { block, have, mut symbols } = block;
        let Some((store, layout)) = self.open.get_mut(&session) else { return };
        let restored = self.codec.restore(&mut symbols, &have, layout.sources(block), layout.symbol());
        let bytes = &symbols[..layout.bytes(block) as usize];
        let is_sound = restored.is_ok() && store.fits(block, bytes);
        let written = match (is_sound, block) {
            (false, _) => Ok(Vec::new()),
            (true, 0) => store.take_catalogue(bytes),
            (true, _) => store.write(block, bytes).map(|()| Vec::new()),
        };
        let fits = is_sound && written.is_ok();
        let spoilt = (!is_sound).then_some(have);
        self.tell(Done::Block { session, block, fits, repaired: restored.unwrap_or(0), spoilt, symbols });
        match written {
            Ok(found) if found.is_empty() => {}
            Ok(found) => self.tell(Done::Found(session, found)),
            Err(error) => self.tell(Done::Failed(session, error)),
        }
    }

    fn finish(&self, session: u64) {
        let Some((store, _)) = self.open.get(&session) else { return };
        self.tell(match store.finish() {
            Ok(paths) => Done::Finished(session, paths),
            Err(error) => Done::Failed(session, error),
        });
    }

    fn tell(&self, done: Done) {
        let _ = self.tell.send(done);
        self.bell.ring();
    }
}

/// More than all sessions together can have under way.
const QUEUE: usize = 64;
