//! The commands: `ksnproxy` and `ksnserver`.

pub mod server;
