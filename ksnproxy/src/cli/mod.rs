//! The commands: `ksnproxy` and `ksnserver`.

mod identity;
pub mod proxy;
pub mod server;
mod units;
