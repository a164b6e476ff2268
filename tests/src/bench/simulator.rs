//! What a simulated datagram costs: it has to carry 10,000 receivers on one core.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;

use super::{Better, Options, Report, Sample, Subject, compare};
use crate::sim::{Link, Network, Rng};

pub(super) fn run(options: &Options) -> Result<Report> {
    let sizes: &[usize] = if options.full { &[10, 100, 1_000, 10_000] } else { &[10_000] };
    let row = |receivers: &usize| {
        let what = format!("multicast to {receivers} receivers, 2 % loss, 20 ms jitter");
        let subject = Subject { what: &what, unit: "M datagrams/s", better: Better::Higher };
        compare(
            options,
            subject,
            ("simulator", || measure(*receivers, through_network)),
            ("bare heap", || measure(*receivers, through_heap)),
        )
    };
    let note = "The bare heap pushes and pops the same number of arrivals and does nothing else: the floor.";
    Ok(Report { rows: sizes.iter().map(row).collect::<Result<_>>()?, notes: vec![note.to_owned()] })
}

fn measure(receivers: usize, carry: fn(usize, usize)) -> Result<Sample> {
    let sends = DATAGRAMS / receivers;
    Sample::of_this_process(|elapsed| {
        carry(receivers, sends);
        let millions = f64::from(u32::try_from(sends * receivers)?) / 1e6;
        Ok(millions / elapsed().as_secs_f64())
    })
}

fn through_network(receivers: usize, sends: usize) {
    let mut network = Network::new(1);
    let (sender, group) = (network.node(), network.group());
    let link = Link { latency: Duration::from_millis(20), jitter: JITTER, loss: 20, ..Link::default() };
    for _ in 0..receivers {
        let receiver = network.node();
        network.join(group, receiver, link.clone());
    }
    let bytes = Bytes::from_static(&[0; 1200]);
    for _ in 0..sends {
        network.multicast(sender, group, &bytes);
        while let Some(delivery) = network.poll() {
            black_box(delivery);
        }
    }
}

fn through_heap(receivers: usize, sends: usize) {
    let mut rng = Rng::new(1);
    let bytes = Bytes::from_static(&[0; 1200]);
    for _ in 0..sends {
        let mut heap: BinaryHeap<_> =
            (0..receivers).map(|receiver| Reverse((rng.duration(JITTER), receiver, bytes.clone()))).collect();
        while let Some(arrival) = heap.pop() {
            black_box(arrival);
        }
    }
}

const JITTER: Duration = Duration::from_millis(20);
/// A second or so of work in each round.
const DATAGRAMS: usize = 2_000_000;
