//! Running out of file descriptors.

use std::process::Command;

use crate::system;

/// Makes `command` start with at most `limit` open descriptors, its standard streams included; it cannot raise that.
pub fn limit_descriptors(command: &mut Command, limit: u64) -> &mut Command {
    system::start_with_descriptors(command, limit);
    command
}
