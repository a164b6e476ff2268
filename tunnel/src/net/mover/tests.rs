use std::future::pending;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

use klnet_wire::signing::SigningKey;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::net::clock::now;
use crate::net::inner::{initiator_config, target_config};
use crate::net::socket::close_by_reset;

#[tokio::test]
async fn bytes_cross_both_ways_and_are_counted() {
    let mut joined = Joined::start(UNLIMITED).await;
    joined.left.write_all(b"to the target").await.unwrap();
    assert_eq!(exactly(&mut joined.right, 13).await, b"to the target");
    joined.right.write_all(b"back").await.unwrap();
    assert_eq!(exactly(&mut joined.left, 4).await, b"back");
    drop((joined.left, joined.right));
    assert_eq!(joined.task.await.unwrap(), EndReason::Finished);
    assert_eq!((joined.flow.to_target(), joined.flow.to_initiator()), (13, 4));
}

#[tokio::test]
async fn a_direction_that_ended_leaves_the_other_open() {
    let mut joined = Joined::start(UNLIMITED).await;
    joined.left.write_all(b"question").await.unwrap();
    joined.left.shutdown().await.unwrap();
    assert_eq!(to_end(&mut joined.right).await.unwrap(), b"question");
    let answer = vec![7; 3 * 1024 * 1024];
    let reader = tokio::spawn(async move { to_end(&mut joined.left).await.unwrap() });
    joined.right.write_all(&answer).await.unwrap();
    drop(joined.right);
    assert!(reader.await.unwrap() == answer, "the answer came whole");
    assert_eq!(joined.task.await.unwrap(), EndReason::Finished);
}

#[tokio::test]
async fn a_reset_stays_a_reset() {
    let mut joined = Joined::start(UNLIMITED).await;
    joined.left.write_all(b"half a mess").await.unwrap();
    assert_eq!(exactly(&mut joined.right, 11).await, b"half a mess");
    close_by_reset(&joined.left);
    drop(joined.left);
    assert_eq!(to_end(&mut joined.right).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(joined.task.await.unwrap(), EndReason::Reset);
}

#[tokio::test]
async fn a_reset_that_a_write_was_told_of_is_no_end_to_whoever_reads_after() {
    let (flow, ended) = (Flow::default(), Arc::new(AtomicBool::new(false)));
    let asks = Asking { asked: false, ended: Arc::clone(&ended) };
    let reason = join(asks, Gone { told: false }, &UNLIMITED, &flow, pending()).await;
    assert_eq!((reason, ended.load(Ordering::Relaxed)), (EndReason::Reset, false));
}

#[tokio::test]
async fn a_reset_after_a_half_close_is_noticed_when_the_answer_is_written() {
    let mut joined = Joined::start(UNLIMITED).await;
    joined.left.shutdown().await.unwrap();
    assert_eq!(to_end(&mut joined.right).await.unwrap(), b"");
    close_by_reset(&joined.left);
    drop(joined.left);
    while joined.right.write_all(&[1; 1024]).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(joined.task.await.unwrap(), EndReason::Reset);
}

#[tokio::test]
async fn inner_tls_keeps_ends_and_truncations_apart() {
    for clean in [true, false] {
        let mut tunnel = Tunnel::start().await;
        tunnel.operator.write_all(b"hello").await.unwrap();
        assert_eq!(exactly(&mut tunnel.service, 5).await, b"hello");
        match clean {
            true => tunnel.operator.shutdown().await.unwrap(),
            false => close_by_reset(&tunnel.operator),
        }
        let end = match clean {
            true => to_end(&mut tunnel.service).await,
            false => {
                drop(tunnel.operator);
                to_end(&mut tunnel.service).await
            }
        };
        match clean {
            true => assert_eq!(end.unwrap(), b""),
            false => assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset),
        }
    }
}

#[tokio::test]
async fn an_end_without_close_notify_becomes_a_reset() {
    let (mut service, local) = sockets().await;
    let (mut client, server) = inner().await;
    client.write_all(b"cut h").await.unwrap();
    client.flush().await.unwrap();
    let flow = Flow::default();
    let truncating = async {
        assert_eq!(exactly(&mut service, 5).await, b"cut h");
        // The socket ends in order, the TLS stream in it does not.
        client.get_mut().0.shutdown().await.unwrap();
        to_end(&mut service).await
    };
    let (reason, end) = tokio::join!(join(server, local, &UNLIMITED, &flow, pending()), truncating);
    assert_eq!(reason, EndReason::Reset);
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn half_close_crosses_inner_tls() {
    let mut tunnel = Tunnel::start().await;
    tunnel.operator.write_all(b"question").await.unwrap();
    tunnel.operator.shutdown().await.unwrap();
    assert_eq!(to_end(&mut tunnel.service).await.unwrap(), b"question");
    let answer = vec![9; 1024 * 1024];
    let reader = tokio::spawn(async move { to_end(&mut tunnel.operator).await.unwrap() });
    tunnel.service.write_all(&answer).await.unwrap();
    drop(tunnel.service);
    assert!(reader.await.unwrap() == answer, "the answer came whole");
}

#[tokio::test(start_paused = true)]
async fn silence_of_both_directions_ends_the_join() {
    let limits = PairLimits { idle: Duration::from_secs(60), ..UNLIMITED };
    let mut joined = Joined::start(limits).await;
    joined.left.write_all(b"x").await.unwrap();
    exactly(&mut joined.right, 1).await;
    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(!joined.task.is_finished());
    joined.right.write_all(b"x").await.unwrap();
    exactly(&mut joined.left, 1).await;
    let active = now();
    assert_eq!((&mut joined.task).await.unwrap(), EndReason::Idle);
    assert!(now() - active >= Duration::from_secs(60), "the byte back counted as activity");
    assert_eq!(to_end(&mut joined.left).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_the_join_whatever_it_does() {
    let deadline = Some(now() + Duration::from_secs(5));
    let joined = Joined::start(PairLimits { deadline, ..UNLIMITED }).await;
    assert_eq!(joined.task.await.unwrap(), EndReason::SessionOver);
}

#[tokio::test]
async fn a_cut_resets_both_ends_at_once() {
    let mut joined = Joined::start(UNLIMITED).await;
    joined.cut.send(EndReason::Revoked).unwrap();
    assert_eq!(joined.task.await.unwrap(), EndReason::Revoked);
    for end in [&mut joined.left, &mut joined.right] {
        assert_eq!(to_end(end).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

/// As when the process is killed: nobody is left to choose how the sockets are closed.
#[tokio::test]
async fn a_join_that_just_vanishes_is_no_orderly_end() {
    let mut joined = Joined::start(UNLIMITED).await;
    joined.left.write_all(b"half a mess").await.unwrap();
    exactly(&mut joined.right, 11).await;
    joined.task.abort();
    for end in [&mut joined.left, &mut joined.right] {
        assert_eq!(to_end(end).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_bulk_stream_does_not_starve_its_neighbours() {
    let (bulk, mut chat) = (Joined::start(UNLIMITED).await, Joined::start(UNLIMITED).await);
    let (mut from, mut to) = (bulk.left, bulk.right);
    let writer = tokio::spawn(async move { while from.write_all(&[0; 65536]).await.is_ok() {} });
    let reader = tokio::spawn(async move { while to.read(&mut [0; 65536]).await.is_ok_and(|n| n > 0) {} });
    for _ in 0..100 {
        chat.left.write_all(b"k").await.unwrap();
        assert_eq!(exactly(&mut chat.right, 1).await, b"k");
    }
    assert!(bulk.flow.to_target() > 0);
    bulk.cut.send(EndReason::Shutdown).unwrap();
    tokio::try_join!(writer, reader).unwrap();
}

/// Says something, then waits; notes whether its stream was ended in order.
struct Asking {
    asked: bool,
    ended: Arc<AtomicBool>,
}

impl AsyncRead for Asking {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::replace(&mut self.asked, true) {
            return Poll::Pending;
        }
        space.put_slice(b"are you there");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Asking {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ended.store(true, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl End for Asking {
    fn close_by_reset(&mut self) {}

    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

/// A socket whose peer has reset it: it says so once, and then that its stream has ended (tcp(7)).
struct Gone {
    told: bool,
}

impl AsyncRead for Gone {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        assert!(self.told, "the bytes to write are there first");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Gone {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        self.told = true;
        Poll::Ready(Err(ErrorKind::ConnectionReset.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl End for Gone {
    fn close_by_reset(&mut self) {}

    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

const UNLIMITED: PairLimits =
    PairLimits { idle: Duration::MAX, linger: Duration::MAX, deadline: None, rate: None };

/// Two sockets of the test, joined by a mover of plain sockets.
struct Joined {
    left: TcpStream,
    right: TcpStream,
    flow: Arc<Flow>,
    cut: oneshot::Sender<EndReason>,
    task: JoinHandle<EndReason>,
}

impl Joined {
    async fn start(limits: PairLimits) -> Self {
        let ((left, initiator), (right, target)) = (sockets().await, sockets().await);
        let (cut, wait) = oneshot::channel::<EndReason>();
        let flow = Arc::new(Flow::default());
        let shared = flow.clone();
        let task = tokio::spawn(async move {
            let cut = async {
                match wait.await {
                    Ok(reason) => reason,
                    Err(_) => pending().await,
                }
            };
            join(initiator, target, &limits, &shared, cut).await
        });
        Self { left, right, flow, cut, task }
    }
}

/// A plain socket at each side of an inner TLS stream, as in a whole tunnel without its relay.
struct Tunnel {
    operator: TcpStream,
    service: TcpStream,
}

impl Tunnel {
    async fn start() -> Self {
        let ((operator, local), (service, dialled)) = (sockets().await, sockets().await);
        let (client, server) = inner().await;
        tokio::spawn(async move { join(local, client, &UNLIMITED, &Flow::default(), pending()).await });
        tokio::spawn(async move { join(server, dialled, &UNLIMITED, &Flow::default(), pending()).await });
        Self { operator, service }
    }
}

async fn inner() -> (tokio_rustls::client::TlsStream<TcpStream>, tokio_rustls::server::TlsStream<TcpStream>) {
    let key = SigningKey::generate_p256();
    let (client, server) = sockets().await;
    let connector = TlsConnector::from(initiator_config(&key, key.public()));
    let acceptor = TlsAcceptor::from(target_config(&key));
    let name = "t.klnet.internal".try_into().unwrap();
    tokio::try_join!(connector.connect(name, client), acceptor.accept(server)).unwrap()
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let left = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (left, listener.accept().await.unwrap().0)
}

async fn exactly(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn to_end(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(bytes)
}
