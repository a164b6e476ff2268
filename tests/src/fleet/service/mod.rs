//! Real services on a host's own loopback, for tunnels to lead to.

mod echo;
mod postgres;
mod sshd;

pub use echo::Echo;
pub use postgres::Postgres;
pub use sshd::Sshd;
