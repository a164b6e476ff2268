//! Sockets, files and threads around the cores.
//!
//! ```text
//! send     files ─▶ Supply ─symbols─▶ seal ─GSO─▶ group        one thread, paced by the core
//!                                       feedback ─▶ core
//! receive  group ─GRO─▶ open ─▶ core ─▶ block in memory ─▶ Worker: restore, hash, write ─▶ sync, rename
//! ```
//! A receiver's packets and its disk have a thread each; blocks go from one to the other and come back as room. Both
//! calls block: whoever wants more than one thing at a time gives each a thread.

mod budget;
mod event;
mod fetch;
mod interface;
mod memory;
mod node;
mod object;
mod peers;
mod receive;
mod room;
mod send;
mod session;
mod socket;
mod store;
mod supply;
mod tagbook;
mod versions;
mod watch;
mod worker;

use klnet_wire::signed::PublicKey;
use klnet_wire::signing::SigningKey;

use crate::id::ReceiverId;
use crate::key::{EpochKey, Secret};

pub use budget::{TAG_BUDGET, VERIFY_BUDGET};
pub use event::{Receipt, ReceiveEvent, Refusal};
pub use fetch::{FetchError, Fetched, fetch};
pub use interface::{Interface, interfaces};
pub use object::{Object, ObjectError};
pub use receive::{ReceiveError, ReceiveOptions, receive};
pub use send::{SendError, SendOptions, SendView, Sent, SentTo, send};
pub use store::StoreError;
pub use watch::watch;

/// What a sender holds.
#[derive(Debug, Clone)]
pub struct SenderKeys {
    /// The group's secret of this epoch.
    pub epoch: EpochKey,
    /// What receiver keys are made from.
    pub feedback: Secret,
    /// Announces sessions.
    pub announcer: SigningKey,
}

/// What a receiver holds.
#[derive(Debug, Clone)]
pub struct Membership {
    /// Who it is.
    pub receiver: ReceiverId,
    /// The key it shares with the sender alone.
    pub key: Secret,
    /// The group's secrets: of this epoch, and of the next while members change over.
    pub epochs: Vec<EpochKey>,
    /// Who may announce sessions.
    pub announcers: Vec<PublicKey>,
    /// Who may make objects.
    pub signers: Vec<PublicKey>,
    /// Whom it takes objects for, beside those for everyone.
    pub audiences: Vec<[u8; 16]>,
}

/// Sessions that a receiver takes part in at once; more are not opened.
pub const SESSIONS_LIMIT: usize = 4;
