//! What a receiver is told, and what it has its driver do.

use crate::feedback::Feedback;
use crate::mark::Mark;
use crate::symbols::SymbolSet;

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// An authentic announcement of the session came.
    Announced {
        /// The packet's number.
        number: u64,
        /// Whether it says that the session is over.
        ended: bool,
        /// Whether it names this receiver among those who have to wait.
        demoted: bool,
    },
    /// An authentic mark came.
    Mark {
        /// The packet's number.
        number: u64,
        /// What it says.
        mark: Mark,
    },
    /// The sender knows that this receiver is complete.
    Receipt,
    /// These blocks were there before, and are verified. Said at the beginning, until when nothing is sent, and again when
    /// the catalogue shows what else is there.
    Resumed(Vec<u32>),
    /// A block was restored, and its hash compared.
    Restored {
        /// Which block.
        block: u32,
        /// Whether it is on the disk now; otherwise it is to come again.
        fits: bool,
        /// How many symbols had to be restored.
        repaired: u16,
    },
    /// A block was restored and is not what the catalogue says; its symbols are still kept.
    Spoilt {
        /// Which block.
        block: u32,
        /// The symbols that are kept.
        have: SymbolSet,
    },
    /// Symbols of a block were compared with tags that the sender signed.
    Tagged {
        /// Which block.
        block: u32,
        /// The first of those that were compared.
        first: u16,
        /// How many were.
        count: u16,
        /// The ones that are what was sent, if they came at all.
        sound: SymbolSet,
    },
    /// The object is in its place.
    Finished,
    /// It cannot be taken, such as for want of room.
    Failed,
    /// It can again.
    Retry,
    /// What the driver's socket dropped so far.
    Overruns(u32),
    /// The share of the socket's buffer that is taken, from 0 to 1.
    Backlog(f64),
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Restore a block from the symbols that are kept, compare its hash, write it; then [`Input::Restored`].
    Restore {
        /// Which block.
        block: u32,
        /// The symbols that are kept.
        have: SymbolSet,
    },
    /// Give up the symbols that are kept of a block.
    Forget(u32),
    /// Send a feedback.
    Say(Feedback),
    /// Every block is verified: put the object in its place; then [`Input::Finished`] or [`Input::Failed`].
    Finish,
    /// Nothing was heard for a while: leave the group and join it again.
    Rejoin,
    /// The session is over for this receiver.
    Over {
        /// Whether the object is in its place.
        complete: bool,
    },
}
