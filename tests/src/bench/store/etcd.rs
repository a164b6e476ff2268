//! etcd with its defaults, asked over gRPC.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;

use super::effort::Effort;
use super::load::{self, VALUE, WRITERS, Writer};
use crate::bench::Samples;
use crate::fleet::PATIENCE;
use crate::lab::{Host, Process, cpu_time};

/// A new etcd, written to for a while.
pub(super) fn sample(host: &Host, effort: &Effort) -> Result<Samples<2>> {
    let folder = tempfile::Builder::new().prefix("klnet-bench-").tempdir()?;
    let mut command = host.command("etcd");
    let (clients, peers) = (format!("http://127.0.0.1:{CLIENTS}"), format!("http://127.0.0.1:{PEERS}"));
    command.arg("--data-dir").arg(folder.path().join("data")).args(["--listen-client-urls", &clients]);
    command.args(["--advertise-client-urls", &clients, "--listen-peer-urls", &peers]);
    let mut process = Process::spawn("etcd", &mut command)?.tolerating_errors();
    host.wait_for_listener(CLIENTS, PATIENCE)?;
    let before = cpu_time(process.id())?;
    let figures = host.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(write(effort))
    })??;
    let cpu = cpu_time(process.id())?.saturating_sub(before);
    process.terminate(PATIENCE)?;
    Ok(Samples { figures, cpu })
}

async fn write(effort: &Effort) -> Result<[f64; 2]> {
    let mut writers = Vec::new();
    while writers.len() < WRITERS {
        let connection = connect().await?;
        let of_connection = (writers.len()..).take(OF_CONNECTION);
        writers.extend(of_connection.map(|n| Etcd {
            connection: connection.clone(),
            key: load::key(n),
            last: 0,
        }));
    }
    load::measure(writers, effort).await
}

type Connection = SendRequest<Full<Bytes>>;

struct Etcd {
    connection: Connection,
    key: String,
    /// 0: there is no such key yet.
    last: i64,
}

impl Writer for Etcd {
    async fn write(&mut self) -> Result<()> {
        let key = Bytes::from(self.key.clone());
        let compare = Compare { result: EQUAL, target: MOD, key: key.clone(), mod_revision: Some(self.last) };
        let put = Put { key, value: vec![7; VALUE].into() };
        let transaction = Transaction { compare: vec![compare], success: vec![Operation { put: Some(put) }] };
        let answer = call(&mut self.connection, &transaction).await?;
        ensure!(answer.succeeded, "nobody else writes {}", self.key);
        self.last = answer.header.context("an answer has a header")?.revision;
        Ok(())
    }
}

async fn connect() -> Result<Connection> {
    let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, CLIENTS))).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// One unary call: a message behind its length, each way.
async fn call(connection: &mut Connection, transaction: &Transaction) -> Result<Answer> {
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(transaction.encoded_len())?);
    transaction.encode(&mut body)?;
    let request = Request::post(format!("http://127.0.0.1:{CLIENTS}/etcdserverpb.KV/Txn"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(body.freeze()))?;
    connection.ready().await?;
    let answer = connection.send_request(request).await?.into_body().collect().await?;
    let status = answer.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
    let answer = answer.to_bytes();
    ensure!(answer.len() >= 5, "etcd refuses: {status:?}");
    Ok(Answer::decode(answer.slice(5..))?)
}

/// The parts that are used of etcd's messages (api/etcdserverpb/rpc.proto), by their numbers there.
#[derive(Clone, PartialEq, prost::Message)]
struct Transaction {
    #[prost(message, repeated, tag = "1")]
    compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<Operation>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Compare {
    #[prost(int32, tag = "1")]
    result: i32,
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    key: Bytes,
    #[prost(int64, optional, tag = "6")]
    mod_revision: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Operation {
    #[prost(message, optional, tag = "2")]
    put: Option<Put>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Put {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(bool, tag = "2")]
    succeeded: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(int64, tag = "3")]
    revision: i64,
}

const EQUAL: i32 = 0;
const MOD: i32 = 2;
const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;
/// Writers that share a connection.
const OF_CONNECTION: usize = 16;
