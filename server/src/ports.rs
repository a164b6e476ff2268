//! Who has a port: the error about a taken one names the process.

use std::fs;
use std::path::Path;

/// The process that listens on a TCP port of this machine, as `NAME (pid N)`; `None` when that cannot be known.
///
/// Reads `/proc` (proc(5)); another user's processes show only to root.
#[cfg(target_os = "linux")]
pub(crate) fn owner(port: u16) -> Option<String> {
    let inode =
        ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| listener(Path::new(table), port))?;
    let link = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pid =
        processes.map(|process| process.file_name()).filter_map(|name| name.to_str()?.parse::<u32>().ok());
    let pid = pid.into_iter().find(|pid| holds(*pid, &link))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (pid {pid})", name.trim()))
}

/// Elsewhere the system has no such table.
#[cfg(not(target_os = "linux"))]
pub(crate) fn owner(_: u16) -> Option<String> {
    None
}

#[cfg(target_os = "linux")]
fn listener(table: &Path, port: u16) -> Option<String> {
    let text = fs::read_to_string(table).ok()?;
    text.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let local = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
        (local == port && *fields.get(3)? == LISTEN).then(|| fields.get(9).map(ToString::to_string))?
    })
}

#[cfg(target_os = "linux")]
fn holds(pid: u32, link: &str) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.flatten().any(|open| fs::read_link(open.path()).is_ok_and(|target| target.as_os_str() == link))
}

/// TCP_LISTEN as the kernel writes it.
#[cfg(target_os = "linux")]
const LISTEN: &str = "0A";

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_has_a_port_is_named() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(owner(port).unwrap().ends_with(&format!("(pid {})", std::process::id())));
        drop(listener);
        assert_eq!(owner(port), None);
    }
}
