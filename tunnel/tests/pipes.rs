//! What happens when there are no more pipes to be had. In a process of its own: the bound is the process's, and the
//! user is changed.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed
#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::time::Duration;

use klnet_tunnel::net::mover::{Flow, Means, Relayed, Stop};
use klnet_tunnel::pair::{EndReason, PairLimits};
use rustix::process::{Uid, geteuid};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

#[test]
fn above_the_bound_of_pipes_bytes_are_copied_and_none_is_lost() {
    // Twice: as the user who runs the test, and as one to whom the kernel gives pipes of 8 KiB after a few hundred.
    let privileged = stuck_pairs();
    assert!(privileged <= BOUND, "{privileged} pipes");
    if !geteuid().is_root() {
        return eprintln!("skipped: only root can become another user");
    }
    let unprivileged = std::thread::spawn(|| {
        rustix::thread::set_thread_res_uid(NOBODY, NOBODY, NOBODY).unwrap();
        stuck_pairs()
    });
    let unprivileged = unprivileged.join().unwrap();
    assert!(unprivileged < BOUND, "the system gave pipes without a limit: {unprivileged}");
}

/// Fills pairs whose far sides read nothing until no pipe is left for the last of them, then lets all of them go on;
/// gives the most pipes there were.
fn stuck_pairs() -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let means = Arc::new(Means::new(true));
        let mut pairs = Vec::new();
        for _ in 0..PAIRS {
            pairs.push(Stuck::start(&means).await);
        }
        let most = pipes();
        assert!(means.copied() > means.spliced() / 100, "some had to be copied");
        let finishing: Vec<_> = pairs.into_iter().map(|pair| tokio::spawn(pair.finish())).collect();
        for finished in finishing {
            finished.await.unwrap();
        }
        most
    })
}

/// A pair with bytes under way that nobody takes.
struct Stuck {
    near: TcpStream,
    far: TcpStream,
    sent: usize,
    task: JoinHandle<EndReason>,
}

impl Stuck {
    async fn start(means: &Arc<Means>) -> Self {
        let (near, initiator) = sockets().await;
        let (far, target) = sockets().await;
        let relayed = Relayed::new(initiator, target, Arc::clone(means));
        let task = tokio::spawn(async move {
            let limits = PairLimits { idle: LONG, linger: LONG, deadline: None, rate: None };
            let never = std::future::pending::<Stop>();
            Box::new(relayed).run(&limits, &Flow::default(), never).await.unwrap()
        });
        let mut stuck = Self { near, far, sent: 0, task };
        let full = Duration::from_millis(5);
        while let Ok(written) = tokio::time::timeout(full, stuck.near.write(&BLOCK)).await {
            stuck.sent += written.unwrap();
        }
        stuck
    }

    async fn finish(mut self) {
        let mut received = vec![0; self.sent];
        self.far.read_exact(&mut received).await.unwrap();
        assert!(received.chunks(BLOCK.len()).all(|block| *block == BLOCK[..block.len()]));
        drop((self.near, self.far));
        assert_eq!(self.task.await.unwrap(), EndReason::Finished);
    }
}

/// A connection with little room at either end, so that a few hundred full ones are no burden, and with segments that
/// fit into it: those of loopback would fill such a window, and then wait for timers.
async fn sockets() -> (TcpStream, TcpStream) {
    let (listener, near) = (small(), small());
    listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listener.listen(1).unwrap();
    let near = near.connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

fn small() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(64 * 1024).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    SockRef::from(&socket).set_tcp_mss(1400).unwrap();
    socket
}

/// Pipes of this process, each with two ends.
fn pipes() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let is_pipe = |path| std::fs::read_link(path).is_ok_and(|at| at.to_string_lossy().starts_with("pipe:"));
    open.filter(|entry| is_pipe(entry.path())).count() / 2
}

/// What the mover keeps to, and a few that the test harness has.
const BOUND: usize = 512 + 4;
/// More pairs than there may be pipes.
const PAIRS: usize = 600;
static BLOCK: [u8; 64 * 1024] = [0x5a; 64 * 1024];
const LONG: Duration = Duration::from_secs(600);
/// The user that owns nothing, on every Unix.
const NOBODY: Uid = Uid::from_raw_unchecked(65534);
