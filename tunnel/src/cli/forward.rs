//! A local port that leads to the target.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::access::Access;
use super::args::Options;
use super::carry::carry;
use super::failure::Failure;
use super::local::LocalPort;
use super::operator::Operator;
use super::owner::Admission;
use super::pasted::or_read;
use super::status::Status;
use super::target::Target;
use crate::net::socket;

/// Opens the port and serves it until the user ends it.
pub(super) async fn main(target: Target, local: Option<u16>, options: &Options) -> Result<ExitCode, Failure> {
    let forward = Forward::open(target, local, options).await?;
    forward.serve_until(tokio::signal::ctrl_c()).await.map_err(Failure::Runtime)?;
    Ok(ExitCode::SUCCESS)
}

/// An open local port.
pub(super) struct Forward {
    port: LocalPort,
    admission: Admission,
    shared: Arc<Shared>,
}

struct Shared {
    access: Access,
    status: Status,
}

impl Forward {
    /// Gets the grant and opens the port.
    pub(super) async fn open(target: Target, local: Option<u16>, options: &Options) -> Result<Self, Failure> {
        let target = or_read(target)?;
        let access = Access::open(&target, &Operator::load(options)?, options.keep.into()).await?;
        let port = LocalPort::open(local).await?;
        access.begin().await?;
        let status = Status::new(target.to_string(), options);
        status.listening(&port.addresses(), access.terms().await);
        let shared = Arc::new(Shared { access, status });
        Ok(Self { port, admission: Admission::of(options.show), shared })
    }

    /// The port that is open.
    pub(super) fn port(&self) -> u16 {
        self.port.number()
    }

    /// Accepts connections until something else is done, and gives that; leaves no live line behind.
    pub(super) async fn serve_until<T>(self, done: impl Future<Output = T>) -> T {
        let shared = self.shared.clone();
        let result = tokio::select! {
            result = done => result,
            () = self.serve() => unreachable!("a port is served for ever"),
        };
        // Connections that are open hold on to the status: it would not go by itself.
        shared.status.clear();
        shared.access.close().await;
        result
    }

    /// Accepts connections for ever.
    async fn serve(self) {
        let Self { port, admission, shared } = self;
        let ticking = async {
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            loop {
                tick.tick().await;
                shared.access.tidy().await;
                shared.status.refresh();
            }
        };
        let connection = |stream| {
            let shared = shared.clone();
            async move { shared.connection(stream).await }
        };
        tokio::join!(port.serve(admission, &shared.status, connection), ticking);
    }
}

impl Shared {
    async fn connection(&self, stream: TcpStream) {
        // Whatever ends this program meanwhile: who waits here must not take it for an answer.
        socket::close_by_reset(&stream);
        match self.access.wait(&self.status).await {
            Ok(connection) => carry(stream, connection, &self.access, &self.status).await,
            Err(failure) => self.status.failed("no connection", &failure),
        }
    }
}
