//! Real services on a host's own loopback, for tunnels to lead to.

mod echo;
mod iperf3;
mod nghttpd;
mod parley;
mod postgres;
mod rsyncd;
mod sshd;

pub use echo::Echo;
pub use iperf3::Iperf3;
pub use nghttpd::Nghttpd;
pub use parley::{Call, Ending, Parley, Talk};
pub use postgres::Postgres;
pub use rsyncd::Rsyncd;
pub use sshd::Sshd;
