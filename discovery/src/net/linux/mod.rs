//! What only Linux has: packet sockets, their filters, the program that opens them for others, and
//! the table of neighbours.

mod batch;
pub(super) mod errors;
mod filter;
mod neighbours;
pub mod opener;
mod packet;
mod privilege;
mod want;

pub(super) use neighbours::{Neighbours, resolution};
pub(super) use packet::PacketSocket;
pub use privilege::give_up_privileges;
pub(super) use want::Want;
