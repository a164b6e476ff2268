//! A small DNS server (RFC 1035) whose answers a test makes up, question by question.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use klnet_tests::lab::Host;

/// Answers on port 53 of a host until it is dropped.
pub(crate) struct Names {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Which addresses a name has when it is asked for the n-th time, counted from 0.
pub(crate) type Answer = dyn Fn(&str, usize) -> Vec<IpAddr> + Send;

impl Names {
    pub(crate) fn serve(host: &Host, answer: Box<Answer>) -> Result<Self> {
        let socket = host.inside(|| UdpSocket::bind((host.address(), 53)))??;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let done = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut asked = HashMap::new();
            while !ended.load(Ordering::Relaxed) {
                // A time-out is only the moment to look whether it is over.
                let _ = answer_one(&socket, &answer, &mut asked);
            }
        });
        Ok(Self { done, thread: Some(thread) })
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The resolver configuration that `ip netns exec` gives programs of a host; removed on drop.
pub(crate) struct Resolver(PathBuf);

impl Resolver {
    pub(crate) fn of(host: &Host, server: Ipv4Addr) -> Result<Self> {
        let folder = Path::new("/etc/netns").join(host.name());
        std::fs::create_dir_all(&folder)?;
        std::fs::write(
            folder.join("resolv.conf"),
            format!("nameserver {server}\noptions timeout:1 attempts:1\n"),
        )?;
        Ok(Self(folder))
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn answer_one(
    socket: &UdpSocket,
    answer: &Answer,
    asked: &mut HashMap<(String, u16), usize>,
) -> io::Result<()> {
    let mut query = [0; 512];
    let (len, peer): (usize, SocketAddr) = socket.recv_from(&mut query)?;
    let Some((name, kind, end)) = question(&query[..len]) else { return Ok(()) };
    let times = asked.entry((name.clone(), kind)).or_default();
    let addresses = answer(&name, *times);
    *times += 1;
    let records: Vec<_> = addresses.into_iter().filter_map(|address| record(address, kind)).collect();
    let count = u16::try_from(records.len()).unwrap_or(0).to_be_bytes();
    let mut reply = query[..2].to_vec();
    // A response, recursion available, no error; one question, these answers.
    reply.extend([0x81, 0x80, 0, 1, count[0], count[1], 0, 0, 0, 0]);
    reply.extend(&query[12..end]);
    reply.extend(records.concat());
    socket.send_to(&reply, peer).map(drop)
}

/// The name asked for in lower case, the type asked for, and where the question ends.
fn question(query: &[u8]) -> Option<(String, u16, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let len = usize::from(*query.get(at)?);
        if len == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + len)?).to_ascii_lowercase());
        at += 1 + len;
    }
    let kind = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
    Some((labels.join("."), kind, at + 5))
}

/// An answer for the name of the question (a pointer to byte 12) that nobody may keep: its time to live is 0.
fn record(address: IpAddr, asked: u16) -> Option<Vec<u8>> {
    let (kind, bytes) = match address {
        IpAddr::V4(address) => (1, address.octets().to_vec()),
        IpAddr::V6(address) => (28, address.octets().to_vec()),
    };
    let len = u8::try_from(bytes.len()).ok()?;
    let head = [0xC0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, len];
    (asked == u16::from(kind)).then(|| [&head[..], &bytes].concat())
}
