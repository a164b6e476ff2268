//! What only Linux has: packet sockets, their filters, and the program that opens them for others.

mod batch;
mod filter;
pub mod opener;
mod packet;
mod privilege;

pub(super) use packet::PacketSocket;
pub(super) use packet::Want;
pub use privilege::give_up_privileges;
