//! Real programs of others, started on a host of the lab with folders of their own.

mod avahi;
mod knot;
mod samba;
mod slapd;

pub use avahi::Avahi;
pub use knot::Knot;
pub use samba::Samba;
pub use slapd::{Slapd, Transport};

/// Also where the programs of administrators are.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
