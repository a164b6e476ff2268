//! Datagrams, 64 with each call: received, and answered where they came from.
//!
//! Answers of one length to one address leave as one packet that the kernel takes apart (`UDP_SEGMENT`), when the device can
//! do that: who asks about a folder gets its answers for a tenth of the work.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use crate::frame::DATAGRAM_LIMIT;

/// Room for as many datagrams as one call receives, and for their answers.
pub(super) struct Datagrams {
    /// One byte more than the longest, so that what is too long is noticed.
    frames: Box<[[u8; ROOM]; BATCH]>,
    answers: Box<[[u8; ROOM]; BATCH]>,
    envelopes: Box<[Envelope; BATCH]>,
    lengths: Box<[usize; BATCH]>,
    /// Answers that are to be sent: which envelope, and how long.
    queue: Vec<Answer>,
    segments: bool,
}

/// Where a datagram came from, and to which of our addresses.
#[derive(Clone, Copy)]
pub(super) struct Envelope {
    name: libc::sockaddr_storage,
    name_length: libc::socklen_t,
    control: Control,
    control_length: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Answer {
    source: (u128, u16),
    length: usize,
    at: usize,
}

/// Control messages, aligned as their headers are.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Control([u8; CONTROL]);

impl Datagrams {
    pub(super) fn new() -> Self {
        Self {
            frames: Box::new([[0; ROOM]; BATCH]),
            answers: Box::new([[0; ROOM]; BATCH]),
            envelopes: Box::new([Envelope::EMPTY; BATCH]),
            lengths: Box::new([0; BATCH]),
            queue: Vec::with_capacity(BATCH),
            segments: true,
        }
    }

    /// Receives what is there, and says how many datagrams that were; `addressed` asks also which of our addresses each
    /// came to.
    pub(super) fn receive(&mut self, socket: &UdpSocket, addressed: bool) -> io::Result<usize> {
        let mut vectors: [libc::iovec; BATCH] = std::array::from_fn(|at| vector(&mut self.frames[at]));
        let mut headers: [libc::mmsghdr; BATCH] = std::array::from_fn(|at| {
            let envelope = &mut self.envelopes[at];
            envelope.name_length = NAME;
            envelope.control_length = if addressed { CONTROL } else { 0 };
            header(envelope, &mut vectors[at], 1)
        });
        #[allow(unsafe_code)] // no crate at hand receives several datagrams with their sources
        // SAFETY: each header points to a name, a vector and control bytes that live until the call returns, with their
        // lengths; the kernel writes no further.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH_U32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (at, header) in headers.iter().enumerate().take(received) {
            self.envelopes[at].name_length = header.msg_hdr.msg_namelen;
            self.envelopes[at].control_length = header.msg_hdr.msg_controllen;
            self.envelopes[at].forget_interface();
            self.lengths[at] = usize::try_from(header.msg_len).unwrap_or(ROOM);
        }
        Ok(received)
    }

    /// One of those that were received last: its source, its bytes, and room for its answer. `None` for what is too long
    /// for any query.
    pub(super) fn datagram(&mut self, at: usize) -> Option<(SocketAddr, &mut [u8], &mut [u8])> {
        let length = self.lengths[at];
        let source = self.envelopes[at].source().filter(|_| length <= DATAGRAM_LIMIT)?;
        Some((source, &mut self.frames[at][..length], &mut self.answers[at]))
    }

    /// Where it came from, for an answer later.
    pub(super) fn envelope(&self, at: usize) -> Envelope {
        self.envelopes[at]
    }

    /// Answers the datagram with so many bytes of its room, at the next [`Self::send`].
    pub(super) fn answer(&mut self, at: usize, source: SocketAddr, length: usize) {
        self.queue.push(Answer { source: sortable(source), length, at });
    }

    /// Room for an answer that comes later, when less than [`BATCH`] are queued. It replaces what was received before.
    pub(super) fn later(&mut self, envelope: &Envelope) -> Option<&mut [u8]> {
        let at = self.queue.len();
        self.envelopes[at] = *envelope;
        envelope.source().map(|_| &mut self.answers[at][..])
    }

    /// Queues the answer that was written to the room of [`Self::later`]; whether there is room for another.
    pub(super) fn answer_later(&mut self, length: usize) -> bool {
        let at = self.queue.len();
        if let Some(source) = self.envelopes[at].source() {
            self.answer(at, source, length);
        }
        self.queue.len() < BATCH
    }

    /// Sends all answers. What the kernel has no room for is lost, as datagrams are.
    pub(super) fn send(&mut self, socket: &UdpSocket) {
        if self.queue.is_empty() {
            return;
        }
        self.queue.sort_unstable();
        let mut from = 0;
        while from < self.queue.len() {
            match self.send_from(socket, from) {
                Ok(sent) => from += sent,
                // The device cannot take packets apart.
                Err(error) if self.segments && error.raw_os_error() == Some(libc::EIO) => {
                    self.segments = false
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Of the first alone: no route, or a firewall.
                Err(_) => from += 1,
            }
        }
        self.queue.clear();
    }

    /// Sends the answers from `from` on with one call, and says how many of them were sent.
    fn send_from(&mut self, socket: &UdpSocket, from: usize) -> io::Result<usize> {
        let queue = &self.queue[from..];
        let mut vectors: [libc::iovec; BATCH] = std::array::from_fn(|_| vector(&mut []));
        for (vector, answer) in vectors.iter_mut().zip(queue) {
            *vector = self::vector(&mut self.answers[answer.at][..answer.length]);
        }
        let mut headers: [libc::mmsghdr; BATCH] = std::array::from_fn(|_| empty_header());
        let mut counts = [0; BATCH];
        let (mut packets, mut at) = (0, 0);
        while at < queue.len() {
            let same = |other: &&Answer| (other.source, other.length) == (queue[at].source, queue[at].length);
            let count = if self.segments { queue[at..].iter().take_while(same).count() } else { 1 };
            let envelope = &mut self.envelopes[queue[at].at];
            if count > 1 {
                envelope.segment(queue[at].length);
            }
            headers[packets] = header(envelope, &mut vectors[at], count);
            counts[packets] = count;
            packets += 1;
            at += count;
        }
        #[allow(unsafe_code)] // as above
        // SAFETY: as above; a header's vectors are `count` of those behind each other in `vectors`.
        let sent = unsafe {
            let length = u32::try_from(packets).unwrap_or(BATCH_U32);
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), length, libc::MSG_DONTWAIT)
        };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        Ok(counts[..sent].iter().sum())
    }
}

impl Envelope {
    const EMPTY: Self =
        Self { name: empty_name(), name_length: 0, control: Control([0; CONTROL]), control_length: 0 };

    fn source(&self) -> Option<SocketAddr> {
        let name = (&raw const self.name).cast::<u8>();
        #[allow(unsafe_code)] // the kernel wrote one of the two structures that are read here
        // SAFETY: the storage is as long as any address and aligned for it; every byte is initialised.
        unsafe {
            match i32::from(self.name.ss_family) {
                libc::AF_INET => {
                    let name = &*name.cast::<libc::sockaddr_in>();
                    let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
                    Some(SocketAddrV4::new(address, u16::from_be(name.sin_port)).into())
                }
                libc::AF_INET6 => {
                    let name = &*name.cast::<libc::sockaddr_in6>();
                    let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
                    Some(
                        SocketAddrV6::new(address, u16::from_be(name.sin6_port), 0, name.sin6_scope_id)
                            .into(),
                    )
                }
                _ => None,
            }
        }
    }

    /// An answer leaves from the address that was asked, by whatever interface leads back.
    fn forget_interface(&mut self) {
        let bytes = &mut self.control.0;
        let kind = [&bytes[8..12], &bytes[12..16]]
            .map(|word| i32::from_ne_bytes(word.try_into().unwrap_or_default()));
        if self.control_length >= 28 && kind == [libc::IPPROTO_IP, libc::IP_PKTINFO] {
            bytes[16..20].fill(0);
        }
    }

    /// Adds that the packet is taken apart every `length` bytes.
    fn segment(&mut self, length: usize) {
        let at = self.control_length.next_multiple_of(8);
        let Some(room) = self.control.0.get_mut(at..at + SEGMENT) else { return };
        room[..8].copy_from_slice(&18_usize.to_ne_bytes());
        room[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        room[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
        room[16..18].copy_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        self.control_length = at + SEGMENT;
    }
}

fn vector(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}

fn header(envelope: &mut Envelope, vectors: &mut libc::iovec, count: usize) -> libc::mmsghdr {
    let mut header = empty_header();
    header.msg_hdr.msg_name = (&raw mut envelope.name).cast();
    header.msg_hdr.msg_namelen = envelope.name_length;
    header.msg_hdr.msg_iov = vectors;
    header.msg_hdr.msg_iovlen = count;
    if envelope.control_length > 0 {
        header.msg_hdr.msg_control = envelope.control.0.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = envelope.control_length;
    }
    header
}

#[allow(unsafe_code)] // structures of the C library without a constructor
const fn empty_header() -> libc::mmsghdr {
    // SAFETY: integers and pointers, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

#[allow(unsafe_code)] // as above
const fn empty_name() -> libc::sockaddr_storage {
    // SAFETY: integers, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// Equal for one source alone.
fn sortable(source: SocketAddr) -> (u128, u16) {
    let address = match source.ip() {
        std::net::IpAddr::V4(address) => address.to_ipv6_mapped(),
        std::net::IpAddr::V6(address) => address,
    };
    (address.to_bits(), source.port())
}

/// Datagrams of one call.
pub(super) const BATCH: usize = 64;
const BATCH_U32: u32 = 64;

const ROOM: usize = DATAGRAM_LIMIT + 24;

/// An IPv6 packet info and a segment length are 40 and 24 bytes.
const CONTROL: usize = 72;
const SEGMENT: usize = 24;

const NAME: libc::socklen_t = 128;
