//! Options of a tunnel's sockets: prompt, noticed when dead, paced, and closable by a reset.

use std::io;
use std::num::NonZeroU64;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Prepares a socket that carries a tunnel: no Nagle delay, keystrokes do not wait behind much unsent bulk, what a slow
/// reader leaves unread is bounded, and a dead peer is noticed within 30 s.
///
/// Keepalive notices it while nothing is sent, and keeps middleboxes from forgetting the connection; while sent bytes
/// wait for their acknowledgement the mover does, by [`health`]. Resends come at most two seconds apart, so that a
/// line that was away for a minute is used again as soon as it is back.
///
/// # Errors
/// When the system refuses an option, for example because the socket is already closed.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_RETRIES))?;
    #[cfg(target_os = "linux")]
    if let Err(error) = option::set(stream, libc::IPPROTO_TCP, option::TCP_RTO_MAX_MS, RESEND_MS) {
        // Linux before 6.15 does not know it: the system's own patience applies, and at last the idle limit.
        tracing::trace!(%error, "the time between resends cannot be capped");
    }
    #[cfg(target_os = "linux")]
    for (name, bytes) in [(libc::TCP_NOTSENT_LOWAT, UNSENT), (libc::TCP_WINDOW_CLAMP, WINDOW)] {
        option::set(stream, libc::IPPROTO_TCP, name, bytes)?;
    }
    Ok(())
}

/// How a connection fares, as its own end sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// The smoothed round-trip time (RFC 6298).
    pub round_trip: Duration,
    /// Segments sent and not acknowledged.
    pub unacknowledged: u32,
    /// Probes sent, of a closed window or a silent peer, and not answered.
    pub probes: u32,
    /// How long ago an acknowledgement came.
    pub last_acknowledgement: Duration,
    /// The connection is no more, by a reset or for want of answers. One that both ends have shut in order has not
    /// failed, though it is closed as well: what came before its end may still wait to be read.
    pub failed: bool,
}

impl Health {
    /// Whether the peer owes an answer.
    pub const fn is_waiting(&self) -> bool {
        self.unacknowledged > 0 || self.probes > 0
    }
}

/// Asks the kernel how a connection fares (tcp(7), `TCP_INFO`).
///
/// # Errors
/// What the system says.
#[cfg(target_os = "linux")]
pub fn health(stream: &TcpStream) -> io::Result<Health> {
    let info = option::tcp_info(stream)?;
    // The error is told once; whoever asks here ends the connection for it.
    let failed = info.tcpi_state == option::TCP_CLOSE && stream.take_error()?.is_some();
    Ok(Health {
        round_trip: Duration::from_micros(info.tcpi_rtt.into()),
        unacknowledged: info.tcpi_unacked,
        probes: info.tcpi_probes.into(),
        last_acknowledgement: Duration::from_millis(info.tcpi_last_ack_recv.into()),
        failed,
    })
}

/// Elsewhere the kernel is not asked.
///
/// # Errors
/// Always [`io::ErrorKind::Unsupported`].
#[cfg(not(target_os = "linux"))]
pub fn health(_stream: &TcpStream) -> io::Result<Health> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Lets the kernel send at most `rate` bytes per second on this socket; it does so without any work of ours.
///
/// # Errors
/// When the system refuses the option.
#[cfg(target_os = "linux")]
pub fn pace(stream: &TcpStream, rate: NonZeroU64) -> io::Result<()> {
    option::set(stream, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, rate.get())
}

/// Pacing is the Linux kernel's; elsewhere a rate is not kept.
///
/// # Errors
/// Always [`io::ErrorKind::Unsupported`].
#[cfg(not(target_os = "linux"))]
pub fn pace(_stream: &TcpStream, _rate: NonZeroU64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Keeps bytes that arrive from being told to whoever waits on the socket (`on`), or has each told again, what came
/// meanwhile included. The end of the stream and a reset are told in any case, so nobody misses that the peer has gone; one
/// that goes on sending is stopped by its window.
#[cfg(target_os = "linux")]
pub fn hush(stream: &TcpStream, on: bool) {
    // Above half of the receive buffer the kernel would enlarge it (tcp(7), `SO_RCVLOWAT`).
    let half = || SockRef::from(stream).recv_buffer_size().ok().and_then(|bytes| (bytes / 2).try_into().ok());
    let bytes: libc::c_int = if on { half().unwrap_or(1) } else { 1 };
    // A socket that refuses this is dead already.
    let _ = option::set(stream, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes);
}

/// Elsewhere every arrival is told.
#[cfg(not(target_os = "linux"))]
pub fn hush(_stream: &TcpStream, _on: bool) {}

/// Makes the socket's close a reset (RST) instead of an orderly end, so that the peer can tell the two apart.
pub fn close_by_reset(stream: &TcpStream) {
    // A socket that refuses this is dead already: there is nobody left to tell.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Makes the socket's close an orderly end again. What its peer has not read by then is the kernel's to deliver, and it
/// gives up a closed window once its probes are as far apart as resends may be: a peer that read nothing for a few
/// seconds would lose the rest. So the kernel's own patience applies again, which is minutes.
pub fn close_in_order(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(None);
    #[cfg(target_os = "linux")]
    let _ = option::set(stream, libc::IPPROTO_TCP, option::TCP_RTO_MAX_MS, USUAL_RESEND_MS);
}

/// Waits until the peer has closed or reset the connection, without touching what it sent before.
///
/// The readiness to read belongs to whoever reads next: clearing it here would lose the bytes that are waiting. The
/// interest in urgent data completes on a close as well, and nobody else uses it.
#[cfg(target_os = "linux")]
pub async fn closed(stream: &TcpStream) {
    // An error of the reactor means that no close will ever be reported: as good as closed.
    let _ = stream.ready(tokio::io::Interest::PRIORITY).await;
}

/// Elsewhere a close shows when bytes are moved.
#[cfg(not(target_os = "linux"))]
pub async fn closed(_stream: &TcpStream) {
    std::future::pending().await
}

/// Silence after which the kernel asks the peer whether it still lives.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Questions without an answer after which the peer is dead.
const KEEPALIVE_RETRIES: u32 = 3;
/// Most milliseconds between two resends of the same bytes.
#[cfg(target_os = "linux")]
const RESEND_MS: libc::c_int = 2000;
/// The same as Linux has it (`net.ipv4.tcp_rto_max_ms`).
#[cfg(target_os = "linux")]
const USUAL_RESEND_MS: libc::c_int = 120_000;
/// Bytes that may wait in a socket to be sent the first time: a bulk stream is kept going, and what comes after it is
/// sent soon.
#[cfg(target_os = "linux")]
const UNSENT: libc::c_int = 256 * 1024;
/// Most bytes that a peer may send ahead of a slow reader: a gigabit per second over 64 ms.
#[cfg(target_os = "linux")]
const WINDOW: libc::c_int = 8 * 1024 * 1024;

/// Socket options that the `socket2` crate does not offer.
#[cfg(target_os = "linux")]
mod option {
    use std::io;
    use std::os::fd::AsRawFd;

    use tokio::net::TcpStream;

    /// Sets an option whose value is an integer of the width the kernel expects there.
    pub(super) fn set<T: Integer>(stream: &TcpStream, level: i32, name: i32, value: T) -> io::Result<()> {
        let length = libc::socklen_t::try_from(size_of::<T>()).expect("at most eight bytes");
        // SAFETY: the descriptor is open while `stream` is borrowed; the kernel only reads, and only the `length`
        // bytes of `value`, which is a plain integer that outlives the call.
        #[allow(unsafe_code)]
        let result =
            unsafe { libc::setsockopt(stream.as_raw_fd(), level, name, (&raw const value).cast(), length) };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The kernel's own account of a connection.
    pub(super) fn tcp_info(stream: &TcpStream) -> io::Result<libc::tcp_info> {
        // SAFETY: a plain structure of integers, for which all bits zero is a value.
        #[allow(unsafe_code)]
        let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
        let mut length = libc::socklen_t::try_from(size_of_val(&info)).expect("a few hundred bytes");
        // SAFETY: the descriptor is open while `stream` is borrowed; the kernel writes at most `length` bytes, all of
        // them inside `info`, which outlives the call.
        #[allow(unsafe_code)]
        let result = unsafe {
            let at = (&raw mut info).cast();
            libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, at, &raw mut length)
        };
        match result {
            0 => Ok(info),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Values without padding or pointers.
    pub(super) trait Integer: Copy {}
    impl Integer for libc::c_int {}
    impl Integer for u64 {}

    /// Caps the retransmission timeout (linux/tcp.h, since 6.15).
    pub(super) const TCP_RTO_MAX_MS: libc::c_int = 44;

    /// A connection that is over (the kernel's `TCP_CLOSE`).
    pub(super) const TCP_CLOSE: u8 = 7;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_prepared_socket_notices_a_dead_peer_and_bears_with_a_slow_one() {
        let (left, _right) = pair().await;
        prepare(&left).unwrap();
        let socket = SockRef::from(&left);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        #[cfg(target_os = "linux")]
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            None,
            "it would cut a peer that does not read for a while"
        );
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_reset_is_a_failure_and_an_orderly_end_with_bytes_to_read_is_none() {
        for reset in [false, true] {
            let (mut left, mut right) = pair().await;
            left.shutdown().await.unwrap();
            assert_eq!(right.read(&mut [0]).await.unwrap(), 0);
            right.write_all(b"the rest").await.unwrap();
            if reset {
                close_by_reset(&right);
            }
            drop(right);
            closed(&left).await;
            assert_eq!(health(&left).unwrap().failed, reset);
            let mut rest = Vec::new();
            // What a reset leaves behind is worth nothing.
            assert!(reset || left.read_to_end(&mut rest).await.is_ok() && rest == b"the rest");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_a_peer_has_not_read_for_a_while_is_still_there_after_an_orderly_close() {
        let (mut left, mut right) = pair().await;
        prepare(&left).unwrap();
        right.shutdown().await.unwrap();
        assert_eq!(left.read(&mut [0]).await.unwrap(), 0);
        let (piece, mut sent) = ([7; 65_536], 0);
        while let Ok(length) = left.try_write(&piece) {
            sent += length;
        }
        left.shutdown().await.unwrap();
        close_in_order(&left);
        drop(left);
        let given_up = tokio::time::timeout(Duration::from_secs(9), closed(&right)).await;
        assert!(given_up.is_err(), "the kernel has given up");
        let mut rest = Vec::new();
        assert_eq!(right.read_to_end(&mut rest).await.unwrap(), sent);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_hushed_socket_tells_of_its_end_and_of_what_came_meanwhile_once_it_is_heard() {
        let told = async |socket: &TcpStream| {
            tokio::time::timeout(Duration::from_millis(200), socket.readable()).await.is_ok()
        };
        let (left, mut right) = pair().await;
        hush(&left, true);
        right.write_all(b"unheard").await.unwrap();
        assert!(!told(&left).await);
        hush(&left, false);
        assert!(told(&left).await);
        assert_eq!(left.try_read(&mut [0; 16]).unwrap(), 7);
        hush(&left, true);
        assert!(left.try_read(&mut [0]).is_err());
        right.shutdown().await.unwrap();
        assert!(told(&left).await);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn any_rate_can_be_set() {
        let (left, _right) = pair().await;
        for rate in [1, 1_000_000, u64::MAX] {
            pace(&left, NonZeroU64::new(rate).unwrap()).unwrap();
        }
    }

    #[tokio::test]
    async fn a_reset_close_is_seen_as_a_reset() {
        let (left, mut right) = pair().await;
        close_by_reset(&left);
        drop(left);
        let error = right.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_close_is_noticed_and_what_came_before_it_can_still_be_read() {
        for reset in [false, true] {
            let (mut left, mut right) = pair().await;
            left.write_all(b"before").await.unwrap();
            {
                let mut waiting = std::pin::pin!(closed(&right));
                tokio::select! {
                    biased;
                    () = &mut waiting => panic!("still open"),
                    () = tokio::task::yield_now() => {}
                }
                if reset {
                    close_by_reset(&left);
                }
                drop(left);
                waiting.await;
            }
            let mut bytes = Vec::new();
            let end = right.read_to_end(&mut bytes).await;
            match reset {
                false => assert_eq!((end.unwrap(), &bytes[..]), (6, &b"before"[..])),
                true => assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset),
            }
        }
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let left = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (left, listener.accept().await.unwrap().0)
    }
}
