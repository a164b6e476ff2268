//! System calls that fail on demand.

use std::process::Command;

/// Wraps `command` so that strace makes one kind of call fail: `fdatasync:error=EIO:when=2+`, `sendto:error=ENOBUFS`.
///
/// The tracer is a grandchild (`-D`), so the child is still the program itself and a kill reaches it. Slow: for
/// correctness only. Put limits and hosts on the returned command, not on the one handed in.
#[must_use]
pub fn strace(command: &Command, inject: &str) -> Command {
    let mut traced = Command::new("strace");
    // The trace itself is of no interest, the program's own output is.
    traced.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={inject}"), "--"]);
    traced.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(key, value),
            None => traced.env_remove(key),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        traced.current_dir(directory);
    }
    traced
}
