//! A TCP proxy that mangles: the hostile relay of the tests.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::mangle::{End, Mangle, Mangler, Step};

/// What to do to one connection.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// From the one who dialled to the target.
    pub up: Mangle,
    /// From the target back.
    pub down: Mangle,
}

/// A running proxy; it and every connection through it end on drop.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    recordings: Recordings,
    task: AbortHandle,
}

type Recordings = Arc<Mutex<Vec<[Vec<u8>; 2]>>>;

impl Proxy {
    /// Starts a proxy on a free loopback port; `plan` decides about each connection by its number, from 0.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(
        target: SocketAddr,
        plan: impl Fn(usize) -> Plan + Send + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Self::serve(listener, target, plan)
    }

    /// Starts a proxy on a listener of the caller's, say one bound inside a lab host.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn serve(
        listener: TcpListener,
        target: SocketAddr,
        plan: impl Fn(usize) -> Plan + Send + 'static,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let recordings = Recordings::default();
        let task = tokio::spawn(accept(listener, target, plan, Arc::clone(&recordings))).abort_handle();
        Ok(Self { address, recordings, task })
    }

    /// Where to dial.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections came so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.recordings.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What a connection's ends sent before mangling, up and down; at most 1 MiB each. For replays, and to prove that
    /// no plaintext passed.
    #[must_use]
    pub fn recorded(&self, connection: usize) -> Option<[Vec<u8>; 2]> {
        self.recordings.lock().unwrap_or_else(PoisonError::into_inner).get(connection).cloned()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    plan: impl Fn(usize) -> Plan,
    recordings: Recordings,
) -> io::Result<()> {
    // Dropped with this task, and with it every connection.
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await?;
        let number = {
            let mut all = recordings.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(Default::default());
            all.len() - 1
        };
        let tape = Tape { recordings: Arc::clone(&recordings), number };
        connections.spawn(connection(client, target, plan(number), tape));
    }
}

async fn connection(mut client: TcpStream, target: SocketAddr, plan: Plan, tape: Tape) -> io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let result = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let up = direction(from_client, to_server, Mangler::new(plan.up), &tape, 0);
        let down = direction(from_server, to_client, Mangler::new(plan.down), &tape, 1);
        tokio::try_join!(up, down)
    };
    if result.is_err() {
        // A linger of zero makes the close a reset.
        SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO))?;
        SockRef::from(&server).set_linger(Some(std::time::Duration::ZERO))?;
    }
    result.map(drop)
}

/// Moves one direction; an error means: reset both.
async fn direction(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut mangler: Mangler,
    tape: &Tape,
    way: usize,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        let bytes = buffer.get(..length).unwrap_or_default();
        if bytes.is_empty() {
            return to.shutdown().await;
        }
        tape.record(way, bytes);
        for step in mangler.handle_input(bytes) {
            match step {
                Step::Write(bytes) => to.write_all(&bytes).await?,
                Step::End(End::Stall) => std::future::pending().await,
                Step::End(End::Finish) => return to.shutdown().await,
                Step::End(End::Reset) => return Err(io::ErrorKind::ConnectionReset.into()),
            }
        }
    }
}

struct Tape {
    recordings: Recordings,
    number: usize,
}

impl Tape {
    fn record(&self, way: usize, bytes: &[u8]) {
        let mut all = self.recordings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tape) = all.get_mut(self.number).and_then(|both| both.get_mut(way)) {
            let room = RECORDING_LIMIT.saturating_sub(tape.len()).min(bytes.len());
            tape.extend_from_slice(bytes.get(..room).unwrap_or_default());
        }
    }
}

/// Enough for any handshake and a test's payload; a bulk transfer must not fill memory.
const RECORDING_LIMIT: usize = 1024 * 1024;
