use std::future::pending;
use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::net::socket::close_by_reset;

#[tokio::test]
async fn splice_works_here() {
    splice_works().await.unwrap();
}

#[tokio::test]
async fn many_small_segments_and_then_silence_arrive_whole() {
    for splice in [true, false] {
        let mut joined = Joined::start(splice);
        // Enough at once that the pair changes to bulk, then single bytes that fill a pipe's slots, then nothing.
        let bytes = pattern(600_000);
        let (bulk, dribble) = bytes.split_at(590_000);
        let (near, far) = (&mut joined.near, &mut joined.far);
        let writing = async {
            near.write_all(bulk).await.unwrap();
            for byte in dribble.chunks(1) {
                near.write_all(byte).await.unwrap();
            }
        };
        let (_, received) = tokio::join!(writing, exactly(far, bytes.len()));
        assert!(received == bytes);
        near.write_all(b"and on").await.unwrap();
        assert_eq!(exactly(far, 6).await, b"and on");
    }
}

#[tokio::test]
async fn bulk_is_spliced_and_keystrokes_are_copied() {
    let mut joined = Joined::start(true);
    for _ in 0..100 {
        joined.near.write_all(b"k").await.unwrap();
        exactly(&mut joined.far, 1).await;
    }
    assert_eq!((joined.means.spliced(), joined.means.copied()), (0, 100));
    let bulk = pattern(20_000_000);
    let (written, received) =
        tokio::join!(joined.near.write_all(&bulk), exactly(&mut joined.far, bulk.len()));
    written.unwrap();
    assert!(received == bulk);
    assert!(joined.means.spliced() > 15_000_000, "{}", joined.means.spliced());
}

#[tokio::test]
async fn nothing_is_spliced_where_it_is_switched_off() {
    let mut joined = Joined::start(false);
    let bulk = pattern(2_000_000);
    let (written, received) =
        tokio::join!(joined.near.write_all(&bulk), exactly(&mut joined.far, bulk.len()));
    written.unwrap();
    assert!(received == bulk);
    assert_eq!((joined.means.spliced(), joined.means.copied()), (0, 2_000_000));
}

#[tokio::test]
async fn a_half_close_is_passed_on_behind_the_last_byte() {
    for splice in [true, false] {
        let mut joined = Joined::start(splice);
        let question = pattern(3_000_000);
        let asking = async {
            joined.near.write_all(&question).await.unwrap();
            joined.near.shutdown().await.unwrap();
        };
        let (_, received) = tokio::join!(asking, to_end(&mut joined.far));
        assert!(received.unwrap() == question);
        joined.far.write_all(b"answer").await.unwrap();
        drop(joined.far);
        assert_eq!(to_end(&mut joined.near).await.unwrap(), b"answer");
        assert_eq!(joined.task.await.unwrap().unwrap(), EndReason::Finished);
        assert_eq!((joined.flow.to_target(), joined.flow.to_initiator()), (3_000_000, 6));
    }
}

#[tokio::test]
async fn what_a_dead_side_never_took_is_not_counted() {
    let mut joined = Joined::start(true);
    let sent = joined.fill().await;
    let taken = joined.flow.to_target();
    close_by_reset(&joined.far);
    drop(joined.far);
    assert_eq!(joined.task.await.unwrap().unwrap(), EndReason::Reset);
    assert_eq!(joined.flow.to_target(), taken, "the residue in the pipe went nowhere");
    assert!(taken < sent as u64);
}

#[tokio::test]
async fn a_reset_stays_a_reset() {
    let mut joined = Joined::start(true);
    joined.near.write_all(b"half a mess").await.unwrap();
    exactly(&mut joined.far, 11).await;
    close_by_reset(&joined.near);
    drop(joined.near);
    assert_eq!(to_end(&mut joined.far).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(joined.task.await.unwrap().unwrap(), EndReason::Reset);
}

#[tokio::test]
async fn a_pair_is_lifted_with_all_it_holds_and_goes_on() {
    for splice in [true, false] {
        let mut joined = Joined::start(splice);
        let sent = joined.fill().await;
        joined.stop.send(Stop::Lift).unwrap();
        let lifted = *joined.task.await.unwrap().unwrap_err();
        assert!(lifted.there.held() > 0 && matches!(lifted.back, LiftedHalf::Open));
        assert_eq!(matches!(lifted.there, LiftedHalf::Spliced(_)), splice);

        let mut again = Joined { far: joined.far, ..Joined::resume(lifted, joined.near) };
        let received = exactly(&mut again.far, sent).await;
        assert!(received == pattern(sent), "not a byte was lost or came twice");
        again.far.write_all(b"back").await.unwrap();
        assert_eq!(exactly(&mut again.near, 4).await, b"back");
        again.near.shutdown().await.unwrap();
        assert_eq!(to_end(&mut again.far).await.unwrap(), b"");
    }
}

#[tokio::test]
async fn a_half_closed_pair_is_lifted_as_such() {
    let mut joined = Joined::start(true);
    joined.near.shutdown().await.unwrap();
    assert_eq!(to_end(&mut joined.far).await.unwrap(), b"");
    joined.stop.send(Stop::Lift).unwrap();
    let lifted = *joined.task.await.unwrap().unwrap_err();
    assert!(matches!((&lifted.there, &lifted.back), (LiftedHalf::Ended, LiftedHalf::Open)));
    let mut again = Joined { far: joined.far, ..Joined::resume(lifted, joined.near) };
    again.far.write_all(b"answer").await.unwrap();
    drop(again.far);
    assert_eq!(to_end(&mut again.near).await.unwrap(), b"answer");
    assert_eq!(again.task.await.unwrap().unwrap(), EndReason::Finished);
}

#[tokio::test(start_paused = true)]
async fn the_silence_of_a_lifted_pair_goes_on_where_it_was() {
    let limits = PairLimits { idle: Duration::from_secs(60), ..UNLIMITED };
    let joined = Joined::with(true, limits, None);
    let active = Instant::now();
    tokio::time::sleep(Duration::from_secs(40)).await;
    joined.stop.send(Stop::Lift).unwrap();
    let lifted = *joined.task.await.unwrap().unwrap_err();
    assert_eq!(lifted.silent, Duration::from_secs(40));
    let relayed = Relayed::resume(lifted, joined.means).unwrap();
    let ended = Box::new(relayed).run(&limits, &joined.flow, pending()).await.unwrap();
    assert_eq!(ended, EndReason::Idle);
    assert_eq!(active.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_pair_is_given_so_long_without_progress() {
    let limits = PairLimits { linger: Duration::from_secs(120), ..UNLIMITED };
    let mut joined = Joined::with(true, limits, None);
    joined.near.shutdown().await.unwrap();
    assert_eq!(to_end(&mut joined.far).await.unwrap(), b"");
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(100)).await;
        joined.far.write_all(b".").await.unwrap();
        exactly(&mut joined.near, 1).await;
    }
    let active = Instant::now();
    assert_eq!(joined.task.await.unwrap().unwrap(), EndReason::Idle);
    let silent = active.elapsed();
    assert!(silent >= limits.linger && silent < limits.linger + Duration::from_secs(2), "{silent:?}");
}

#[tokio::test]
async fn pairs_share_a_rate() {
    let rate = NonZeroU64::new(8_000_000).unwrap();
    let bucket = Arc::new(Bucket::new(rate, Instant::now().into_std()));
    let begun = Instant::now();
    let pairs = [(); 2].map(|()| Joined::with(true, UNLIMITED, Some(Arc::clone(&bucket))));
    let bulk = pattern(1_000_000);
    let moves = pairs.map(|mut joined| {
        let bulk = bulk.clone();
        tokio::spawn(async move {
            let (written, received) =
                tokio::join!(joined.near.write_all(&bulk), exactly(&mut joined.far, bulk.len()));
            written.unwrap();
            assert!(received == bulk);
        })
    });
    for moved in moves {
        moved.await.unwrap();
    }
    // 2 MB, of which a burst of 50 ms and one read of each pair are free.
    assert!(begun.elapsed() > Duration::from_millis(100), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_bulk_stream_does_not_starve_its_neighbours() {
    let (bulk, mut chat) = (Joined::start(true), Joined::start(true));
    let (mut from, mut to) = (bulk.near, bulk.far);
    let writer = tokio::spawn(async move { while from.write_all(&[0; 65536]).await.is_ok() {} });
    let reader = tokio::spawn(async move { while to.read(&mut [0; 65536]).await.is_ok_and(|n| n > 0) {} });
    for _ in 0..100 {
        chat.near.write_all(b"k").await.unwrap();
        assert_eq!(exactly(&mut chat.far, 1).await, b"k");
    }
    assert!(bulk.flow.to_target() > 0);
    bulk.stop.send(Stop::Cut(EndReason::Revoked)).unwrap();
    assert_eq!(bulk.task.await.unwrap().unwrap(), EndReason::Revoked);
    tokio::try_join!(writer, reader).unwrap();
}

#[test]
fn no_byte_waits_under_a_cork() {
    assert!(!splice::FLAGS.contains(rustix::pipe::SpliceFlags::MORE));
}

#[tokio::test]
async fn a_pair_that_is_idle_holds_no_pipe() {
    let mut joined = Joined::start(true);
    let bulk = pattern(2_000_000);
    let (written, _) = tokio::join!(joined.near.write_all(&bulk), exactly(&mut joined.far, bulk.len()));
    written.unwrap();
    joined.stop.send(Stop::Lift).unwrap();
    let lifted = joined.task.await.unwrap().unwrap_err();
    assert!(matches!((lifted.there, lifted.back), (LiftedHalf::Open, LiftedHalf::Open)));
}

const UNLIMITED: PairLimits =
    PairLimits { idle: Duration::MAX, linger: Duration::MAX, deadline: None, rate: None };

/// Two sockets of the test, with a relay's pair between them.
struct Joined {
    near: TcpStream,
    far: TcpStream,
    flow: Arc<Flow>,
    means: Arc<Means>,
    stop: oneshot::Sender<Stop>,
    task: JoinHandle<Result<EndReason, Box<Lifted>>>,
}

impl Joined {
    fn start(splice: bool) -> Self {
        Self::with(splice, UNLIMITED, None)
    }

    fn with(splice: bool, limits: PairLimits, bucket: Option<Arc<Bucket>>) -> Self {
        let means = Arc::new(Means::new(splice));
        let ((near, initiator), (far, target)) = (sockets(), sockets());
        let mut relayed = Relayed::new(initiator, target, Arc::clone(&means));
        relayed.throttle(bucket);
        Self::run(relayed, near, far, means, limits)
    }

    fn resume(lifted: Lifted, near: TcpStream) -> Self {
        let means = Arc::new(Means::new(true));
        let relayed = Relayed::resume(lifted, Arc::clone(&means)).unwrap();
        // The caller has the real far side.
        let (_, unused) = sockets();
        Self::run(relayed, near, unused, means, UNLIMITED)
    }

    /// Writes until every buffer between near and far is full; gives how much that took.
    async fn fill(&mut self) -> usize {
        let (bytes, mut sent) = (pattern(64 << 20), 0);
        while let Ok(written) = within(self.near.write(&bytes[sent..])).await {
            sent += written.unwrap();
        }
        sent
    }

    fn run(relayed: Relayed, near: TcpStream, far: TcpStream, means: Arc<Means>, limits: PairLimits) -> Self {
        let flow = Arc::new(Flow::default());
        let (stop, wait) = oneshot::channel();
        let shared = Arc::clone(&flow);
        let task = tokio::spawn(async move {
            let stop = async {
                match wait.await {
                    Ok(stop) => stop,
                    Err(_) => pending().await,
                }
            };
            Box::new(relayed).run(&limits, &shared, stop).await
        });
        Self { near, far, flow, means, stop, task }
    }
}

fn sockets() -> (TcpStream, TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let left = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let right = listener.accept().unwrap().0;
    let settled = |stream: std::net::TcpStream| {
        stream.set_nonblocking(true).unwrap();
        TcpStream::from_std(stream).unwrap()
    };
    (settled(left), settled(right))
}

/// Bytes of which no two neighbouring pages are alike.
fn pattern(length: usize) -> Vec<u8> {
    let mut bytes = (0..=250).collect::<Vec<u8>>().repeat(length / 251 + 1);
    bytes.truncate(length);
    bytes
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

/// Gives up once nothing has moved for a while.
async fn within<T>(work: impl Future<Output = T>) -> Result<T, tokio::time::error::Elapsed> {
    tokio::time::timeout(Duration::from_millis(300), work).await
}
