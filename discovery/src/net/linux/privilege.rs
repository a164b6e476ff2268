//! Gives up what this process may do beyond its user.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

/// Gives up every capability of the calling thread, for good: packets are read only after that.
///
/// # Errors
/// When the kernel refuses, which it has no reason to.
pub fn give_up_privileges() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
}
