//! Options of a tunnel's sockets: prompt, noticed when dead, paced, and closable by a reset.

use std::io;
use std::num::NonZeroU64;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Prepares a socket that carries a tunnel: no Nagle delay, and a dead peer is noticed within about a minute.
///
/// Keepalive alone never fires while sent bytes wait for their acknowledgement, hence the user timeout (RFC 5482).
///
/// # Errors
/// When the system refuses an option, for example because the socket is already closed.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_RETRIES))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

/// Lets the kernel send at most `rate` bytes per second on this socket; it does so without any work of ours.
///
/// # Errors
/// When the system refuses the option.
#[cfg(target_os = "linux")]
pub fn pace(stream: &TcpStream, rate: NonZeroU64) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let rate = rate.get();
    let length = libc::socklen_t::try_from(size_of_val(&rate)).expect("eight bytes");
    // SAFETY: the descriptor is open while `stream` is borrowed, and the kernel reads `length` bytes of `rate`, which
    // outlives the call. The `socket2` crate does not offer this option.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MAX_PACING_RATE,
            (&raw const rate).cast(),
            length,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Pacing is the Linux kernel's; elsewhere a rate is not kept.
///
/// # Errors
/// Always [`io::ErrorKind::Unsupported`].
#[cfg(not(target_os = "linux"))]
pub fn pace(_stream: &TcpStream, _rate: NonZeroU64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Makes the socket's close a reset (RST) instead of an orderly end, so that the peer can tell the two apart.
pub fn close_by_reset(stream: &TcpStream) {
    // A socket that refuses this is dead already: there is nobody left to tell.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
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
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Questions without an answer after which the peer is dead.
const KEEPALIVE_RETRIES: u32 = 3;
/// How long sent bytes may wait for their acknowledgement.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_prepared_socket_keeps_its_options() {
        let (left, _right) = pair().await;
        prepare(&left).unwrap();
        let socket = SockRef::from(&left);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
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
