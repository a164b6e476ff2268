//! `klcast` where cards segment, beside two bare sockets that do nothing but carry as many bytes.

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};

use super::Bench;
use super::cast::cast;
use super::caster::Caster;
use super::klcast::Klcast;
use super::site::Site;
use crate::bench::{Better, Report, Sample, Samples, Subject, compare};
use crate::lab::Host;

/// To one receiver, in chains of datagrams that cross the switch whole.
pub(super) fn pair(bench: &Bench) -> Result<Report> {
    let site = Site::new(1)?;
    site.switch.pass_chains(&[&site.sender, &site.receivers[0]])?;
    let cables = site.cables(0)?;
    let (file, bytes) = (site.file("image", bench.effort.bulk)?, bench.effort.bulk);
    let ours = Klcast::new(&site)?;
    let what = format!("{} MiB to 1 receiver, segmentation offloaded (the ratio is reported)", bytes >> 20);
    let row = compare(
        &bench.options,
        Subject { what: &what, unit: "Gbit/s", better: Better::Higher },
        (ours.name(), || {
            let cast = cast(&site, &cables, &ours, &file)?;
            let cpu = cast.sender.cpu + cast.receiver.cpu;
            Ok(Samples { figures: [rate(bytes, cast.time)], cpu })
        }),
        ("two bare sockets", || Sample::of_this_process(|_| carry(&site.sender, &site.receivers[0], bytes))),
    )?;
    Ok(Report { rows: vec![row], notes: vec![BARE.to_owned()] })
}

/// Gbit/s of what arrives of so many bytes, sent as fast as the system takes them.
fn carry(sender: &Host, receiver: &Host, bytes: usize) -> Result<f64> {
    let listen = receiver.inside(|| -> Result<UdpSocket> {
        let socket = UdpSocket::bind((GROUP, PORT))?;
        socket.join_multicast_v4(&GROUP, &receiver.address())?;
        socket.set_read_timeout(Some(SILENCE))?;
        socket2::SockRef::from(&socket).set_recv_buffer_size(BUFFER)?;
        Ok(socket)
    })??;
    let send = sender.inside(|| UdpSocket::bind((sender.address(), 0)))??;
    socket2::SockRef::from(&send).set_multicast_if_v4(&sender.address())?;
    std::thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&listen));
        transmit(&send, bytes)?;
        let (arrived, time) = receiving.join().ok().context("the receiver")??;
        Ok(rate(arrived, time))
    })
}

fn transmit(socket: &UdpSocket, bytes: usize) -> Result<()> {
    let state = UdpSocketState::new(socket.into())?;
    socket.set_nonblocking(false)?;
    let chain = vec![0; SEGMENT * CHAIN];
    let transmit = Transmit {
        destination: SocketAddr::from((GROUP, PORT)),
        ecn: None,
        contents: &chain,
        segment_size: Some(SEGMENT),
        src_ip: None,
    };
    for _ in 0..bytes / chain.len() {
        state.try_send(socket.into(), &transmit)?;
    }
    Ok(())
}

/// Bytes that came until there was silence, and the time from the first to the last.
fn receive(socket: &UdpSocket) -> Result<(usize, Duration)> {
    let state = UdpSocketState::new(socket.into())?;
    socket.set_nonblocking(false)?;
    let mut buffers = vec![vec![0; 65_536]; BATCH_SIZE];
    let mut metas = [RecvMeta::default(); BATCH_SIZE];
    let (mut bytes, mut times) = (0, None);
    let begun = Instant::now();
    loop {
        let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        match state.recv(socket.into(), &mut slices, &mut metas) {
            Ok(count) => bytes += metas.iter().take(count).map(|meta| meta.len).sum::<usize>(),
            Err(_) if times.is_none() && begun.elapsed() < PATIENCE => continue,
            // Nothing more comes.
            Err(_) => break,
        }
        let now = Instant::now();
        times = Some((times.map_or(now, |(first, _)| first), now));
    }
    let (first, last) = times.context("nothing came")?;
    Ok((bytes, last.saturating_duration_since(first)))
}

fn rate(bytes: usize, time: Duration) -> f64 {
    bytes as f64 * 8.0 / 1e9 / time.as_secs_f64()
}

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 77, 6, 1);
const PORT: u16 = 7000;
/// As klcast's packets.
const SEGMENT: usize = 1440;
const CHAIN: usize = 44;
const BUFFER: usize = 16 << 20;
const SILENCE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(5);
const BARE: &str = "\
Segmentation offloaded: chains of 44 datagrams cross the virtual cables as one buffer. The bare sockets send and receive \
zeroes in such chains; what they lose for want of room is not sent again and does not count.";
