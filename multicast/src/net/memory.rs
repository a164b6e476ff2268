//! What waits in a socket's buffer, and what was dropped because that was full.

use std::os::fd::AsFd;

/// A socket's buffer for what comes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Memory {
    /// The share that is taken, from 0 to 1.
    pub(super) taken: f64,
    /// Packets that did not fit so far.
    pub(super) drops: u32,
}

impl Memory {
    /// How it stands now; empty where the kernel does not say.
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)] // no crate at hand reads SO_MEMINFO
    pub(super) fn of(socket: &impl AsFd) -> Self {
        use std::os::fd::AsRawFd;
        let mut info = [0_u32; MEMINFO];
        let mut length = u32::try_from(size_of_val(&info)).expect("a few words");
        // SAFETY: the kernel writes at most `length` bytes, which is the size of `info`.
        let answer = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                info.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if answer != 0 {
            return Self::default();
        }
        Self { taken: f64::from(info[TAKEN]) / f64::from(info[ROOM].max(1)), drops: info[DROPS] }
    }

    /// How it stands now; empty where the kernel does not say.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn of(_: &impl AsFd) -> Self {
        Self::default()
    }
}

/// Words of SO_MEMINFO (linux/sock_diag.h): SK_MEMINFO_VARS, and among them _RMEM_ALLOC, _RCVBUF and _DROPS.
#[cfg(target_os = "linux")]
const MEMINFO: usize = 9;
#[cfg(target_os = "linux")]
const TAKEN: usize = 0;
#[cfg(target_os = "linux")]
const ROOM: usize = 1;
#[cfg(target_os = "linux")]
const DROPS: usize = 8;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_socket_that_nobody_reads_fills_and_then_drops() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = socket.local_addr().unwrap();
        let before = Memory::of(&socket);
        assert!(before.taken.abs() < 1e-9 && before.drops == 0, "{before:?}");
        let mut taken = 0.0;
        while Memory::of(&socket).drops == 0 {
            taken = Memory::of(&socket).taken;
            socket.send_to(&[0; 1400], to).unwrap();
        }
        assert!((0.8..1.2).contains(&taken), "{taken}");
    }
}
