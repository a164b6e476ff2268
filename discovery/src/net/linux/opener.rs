//! The opener: a small program with CAP_NET_RAW that opens packet sockets for `klpoll`, hands them over, and exits.
//!
//! ```text
//! klpoll ──requests, 8 bytes each──▶ klpoll-open     on a socket that is its standard input
//!        ◀──1 byte, and a descriptor (SCM_RIGHTS)──  0: here it is; else what the kernel said
//! ```
//!
//! Whoever may execute it can send any frame on any interface, and read answers to probes; no more, since filters are
//! locked. So it belongs to root and a group of those who may poll, mode 0750.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::packet::open;
use super::want::Want;

/// Opens sockets: by itself where this process may, else through the opener beside this program.
///
/// # Errors
/// When neither may, or the interface is not there.
pub(in crate::net) fn sockets(wanted: &[(u32, Want)]) -> io::Result<Vec<OwnedFd>> {
    let own: io::Result<Vec<_>> = wanted.iter().map(|(interface, want)| open(*interface, *want)).collect();
    match own {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let opener = beside().ok_or(error)?;
            let opened: io::Result<Vec<_>> =
                wanted.chunks(REQUESTS).map(|wanted| from(&opener, wanted)).collect();
            Ok(opened?.into_iter().flatten().collect())
        }
        result => result,
    }
}

/// The opener that was installed with this program.
fn beside() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name(NAME);
    path.is_file().then_some(path)
}

fn from(opener: &Path, wanted: &[(u32, Want)]) -> io::Result<Vec<OwnedFd>> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut child = Command::new(opener).stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
    let sockets = ask(&ours, wanted);
    drop(ours);
    child.wait()?;
    sockets
}

fn ask(stream: &UnixStream, wanted: &[(u32, Want)]) -> io::Result<Vec<OwnedFd>> {
    let requests: Vec<u8> = wanted.iter().flat_map(|(interface, want)| encode(*interface, *want)).collect();
    io::Write::write_all(&mut &*stream, &requests)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    wanted.iter().map(|_| receive(stream)).collect()
}

/// What the opener does: reads requests from the socket, answers each, and ends.
///
/// # Errors
/// When the socket breaks; what the kernel refuses is an answer.
pub fn serve(stream: &UnixStream) -> io::Result<()> {
    for _ in 0..REQUESTS {
        let mut request = [0; REQUEST];
        match io::Read::read_exact(&mut &*stream, &mut request) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            result => result?,
        }
        let opened = decode(request)
            .map_or(Err(io::ErrorKind::InvalidInput.into()), |(interface, want)| open(interface, want));
        match opened {
            Ok(socket) => send(stream, 0, Some(&socket))?,
            Err(error) => {
                let code = error.raw_os_error().and_then(|code| u8::try_from(code).ok());
                send(stream, code.unwrap_or(INVALID), None)?;
            }
        }
    }
    Ok(())
}

/// Kind, nothing, port, interface.
fn encode(interface: u32, want: Want) -> [u8; REQUEST] {
    let (kind, port) = match want {
        Want::Arp => (0, 0),
        Want::Echo => (1, 0),
        Want::Tcp(port) => (2, port),
        Want::V6 => (3, 0),
    };
    let ([p, q], [a, b, c, d]) = (u16::to_be_bytes(port), interface.to_be_bytes());
    [kind, 0, p, q, a, b, c, d]
}

fn decode([kind, _, p, q, a, b, c, d]: [u8; REQUEST]) -> Option<(u32, Want)> {
    let want = match kind {
        0 => Want::Arp,
        1 => Want::Echo,
        2 => Want::Tcp(u16::from_be_bytes([p, q])),
        3 => Want::V6,
        _ => return None,
    };
    Some((u32::from_be_bytes([a, b, c, d]), want))
}

fn send(stream: &UnixStream, code: u8, socket: Option<&OwnedFd>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = socket.iter().map(|socket| socket.as_fd()).collect();
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    sendmsg(stream, &[io::IoSlice::new(&[code])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(stream: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut code = [0];
    let received =
        recvmsg(stream, &mut [io::IoSliceMut::new(&mut code)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let sockets = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    let socket = sockets.flatten().next();
    match (received.bytes, code, socket) {
        (0, ..) => Err(io::ErrorKind::UnexpectedEof.into()),
        (_, [0], Some(socket)) => Ok(socket),
        (_, [code], _) => Err(io::Error::from_raw_os_error(code.into())),
    }
}

/// The name of the program.
const NAME: &str = "klpoll-open";
const REQUEST: usize = 8;
/// More interfaces than any machine polls through.
const REQUESTS: usize = 64;
/// EINVAL.
const INVALID: u8 = 22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_read_as_it_was_meant() {
        for want in [Want::Arp, Want::Echo, Want::Tcp(40_000), Want::V6] {
            assert_eq!(decode(encode(7, want)), Some((7, want)));
        }
        assert_eq!(decode([4, 0, 0, 0, 0, 0, 0, 7]), None);
    }

    #[test]
    fn what_the_kernel_refuses_is_said_and_ends_nothing() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let serving = std::thread::spawn(move || serve(&theirs));
        // No interface has this number.
        let error = ask(&ours, &[(0x7fff_ffff, Want::Arp)]).unwrap_err();
        assert!(matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EPERM)), "{error}");
        serving.join().unwrap().unwrap();
    }
}
