//! What only Linux has: packet sockets, their filters, and the program that opens them for others.

mod batch;
mod filter;
pub mod opener;
mod packet;
mod privilege;
mod want;

pub(super) use packet::PacketSocket;
pub use privilege::give_up_privileges;
pub(super) use want::Want;
