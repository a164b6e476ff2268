//! Sockets around the lower floor.
//!
//! [`Poll::open`] looks at routes and opens what it may: packet sockets where the process or the opener has the
//! capability, else what every user has. [`Poll::run`] sweeps and asks for names, and needs no privilege: between the
//! two a program gives up whatever it has ([`give_up_privileges`]).
//!
//! ```no_run
//! use klnet_discovery::inventory::Inventory;
//! use klnet_discovery::net::{Find, Names, Options, Poll, Progress, Stage};
//! use klnet_discovery::plan::Plan;
//! use klnet_discovery::profile::Profile;
//! use tokio::sync::{mpsc, watch};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let plan = Plan::new(&["192.168.1.0/24".parse()?], &[])?;
//! let (find, profile, names) = (Find::Hosts, Profile::Polite, Names::Alive);
//! let options = Options { plan, find, profile, tcp: vec![], raw: true, names, server: None, recall: 0.9999 };
//! let poll = Poll::open(options).await?;
//! let (tell, mut facts) = mpsc::channel(64);
//! let (report, _) = watch::channel(Progress { stage: Stage::Round(1, 1), done: 0, of: 0, found: 0 });
//! let running = tokio::spawn(poll.run(tell, report));
//! let mut inventory = Inventory::default();
//! while let Some(fact) = facts.recv().await {
//!     inventory.learn(&fact);
//! }
//! running.await??;
//! for (_, host) in inventory.hosts() {
//!     println!("{:?} {:?}", host.addresses.keys().next(), host.name());
//! }
//! # Ok(())
//! # }
//! ```

mod all_nodes;
mod cards;
mod channel;
#[cfg(feature = "directory")]
mod directory;
mod error;
#[cfg(target_os = "linux")]
mod linux;
mod llmnr;
mod names;
mod poll;
mod route;
mod segment;
mod sweep;
mod windows;
mod zeroconf;

#[cfg(target_os = "linux")]
pub use all_nodes::AllNodes;
pub use cards::{Link, links_into, own_cards, own_links};
#[cfg(feature = "directory")]
pub use directory::{Account, Directory, DirectoryError, Domain, Reading, Server, read_directory};
pub use error::PollError;
#[cfg(target_os = "linux")]
pub use linux::{give_up_privileges, opener};
pub use llmnr::link_names;
pub use poll::{Find, Names, Note, Options, Poll, Progress, Stage};
pub use windows::{discover, smb_names};
pub use zeroconf::browse;

use crate::cookie::CookieKey;

/// A key that nobody can guess.
///
/// # Errors
/// When the kernel has no randomness to give.
fn random_key() -> std::io::Result<CookieKey> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(CookieKey::new(bytes))
}
