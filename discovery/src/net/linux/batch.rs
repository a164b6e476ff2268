//! The system calls that no crate offers safely: many frames in one call, options of sockets, and how often the kernel's
//! clock ticks.
#![allow(
    unsafe_code,
    reason = "sendmmsg, recvmmsg, setsockopt and clock_getres; each block says why it holds"
)]

use std::io;
use std::mem::{MaybeUninit, size_of_val};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use socket2::{SockAddr, Socket};
use tokio::io::unix::AsyncFd;

use crate::packet::Frame;

/// Room for the frames of one call.
#[derive(Debug)]
pub(super) struct Buffers(Box<[[u8; LENGTH]; COUNT]>);

impl Buffers {
    pub(super) fn new() -> Self {
        Self(Box::new([[0; LENGTH]; COUNT]))
    }
}

/// Sends frames from the front; how many went.
pub(super) fn send(fd: RawFd, frames: &[Frame]) -> io::Result<usize> {
    let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; COUNT];
    // SAFETY: a message header is plain data, and all zeros says: no name, no parts, no control data.
    let mut headers: [libc::mmsghdr; COUNT] = unsafe { std::mem::zeroed() };
    let count = frames.len().min(COUNT);
    for ((frame, part), header) in frames.iter().zip(&mut parts).zip(&mut headers) {
        let bytes = frame.as_bytes();
        *part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
    }
    let count = u32::try_from(count).map_err(io::Error::other)?;
    // SAFETY: the first `count` headers point to parts, and those to frames, that outlive the call; sending only reads.
    let sent = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives what is there, at most a buffer full, and gives each frame to `take`.
pub(super) fn receive(fd: RawFd, buffers: &mut Buffers, take: &mut impl FnMut(&[u8])) -> io::Result<()> {
    let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; COUNT];
    // SAFETY: a message header is plain data, and all zeros says: no name, no parts, no control data.
    let mut headers: [libc::mmsghdr; COUNT] = unsafe { std::mem::zeroed() };
    for ((buffer, part), header) in buffers.0.iter_mut().zip(&mut parts).zip(&mut headers) {
        *part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: LENGTH };
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
    }
    let (count, none) = (u32::try_from(COUNT).map_err(io::Error::other)?, std::ptr::null_mut());
    // SAFETY: each header points to a part, and that to LENGTH writable bytes that outlive the call.
    let got = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_DONTWAIT, none) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    for (buffer, header) in buffers.0.iter().zip(&headers).take(got) {
        let len = usize::try_from(header.msg_len).map_err(io::Error::other)?;
        take(buffer.get(..len).unwrap_or(buffer));
    }
    Ok(())
}

/// Waits for what comes in with the runtime.
pub(super) fn registered<T: AsFd + AsRawFd>(socket: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the descriptor is owned by what is registered, so it is open, and the same, for as long.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// Keeps whoever gets the socket from looking past its filter (socket(7), `SO_LOCK_FILTER`).
pub(super) fn lock_filter(socket: &Socket) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_LOCK_FILTER, 1)
}

/// A buffer beyond rmem_max, for who has CAP_NET_ADMIN.
pub(super) fn force_receive_buffer(socket: &Socket, size: usize) -> io::Result<()> {
    let size = libc::c_int::try_from(size).map_err(io::Error::other)?;
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, size)
}

/// Frames go straight to the card: what does not fit is refused, not queued behind our back.
pub(super) fn bypass_queue(socket: &Socket) -> io::Result<()> {
    set(socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)
}

pub(super) fn set(
    socket: &Socket,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `len` bytes of an integer on our stack.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Frames dropped for lack of room since the last call (packet(7), `PACKET_STATISTICS`).
pub(super) fn dropped(fd: BorrowedFd<'_>) -> u32 {
    let mut statistics = MaybeUninit::<libc::tpacket_stats>::zeroed();
    let Ok(mut len) = libc::socklen_t::try_from(size_of_val(&statistics)) else { return 0 };
    // SAFETY: the kernel writes at most `len` bytes into a struct of that size, which zeros initialise.
    let statistics = unsafe {
        let (to, len) = (statistics.as_mut_ptr().cast(), &raw mut len);
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, to, len);
        statistics.assume_init()
    };
    statistics.tp_drops
}

/// How often the kernel's clock ticks: a coarse clock knows no better (clock_getres(2)).
pub(super) fn tick() -> Duration {
    let mut tick = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes a timespec on our stack.
    let result = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut tick) };
    let nanos = u64::try_from(tick.tv_nsec).unwrap_or_default();
    if result == 0 && nanos > 0 { Duration::from_nanos(nanos) } else { Duration::from_millis(4) }
}

/// The address of an interface for frames of one kind (packet(7)).
pub(super) fn link_address(kind: u16, interface: libc::c_int) -> io::Result<SockAddr> {
    // SAFETY: the storage is zeroed and larger than a link address, which is what its family then says it holds.
    let (_, address) = unsafe {
        SockAddr::try_init(|storage, len| {
            let link: *mut libc::sockaddr_ll = storage.cast();
            (*link).sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
            (*link).sll_protocol = kind.to_be();
            (*link).sll_ifindex = interface;
            *len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
            Ok(())
        })
    }?;
    Ok(address)
}

/// Frames in one call.
const COUNT: usize = 64;
/// As long as the filter lets frames be.
const LENGTH: usize = 256;
