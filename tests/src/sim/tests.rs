use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;

#[test]
fn same_seed_gives_the_same_history() {
    assert_eq!(history(42), history(42));
    assert_ne!(history(42), history(43));
}

#[test]
fn ten_thousand_seeds_run_fast() {
    let begun = Instant::now();
    let digests: std::collections::HashSet<_> =
        (0..10_000).map(|seed| format!("{:?}", history(seed))).collect();
    assert_eq!(digests.len(), 10_000, "every seed has a history of its own");
    assert!(begun.elapsed() < Duration::from_secs(60), "took {:?}", begun.elapsed());
}

#[test]
fn jitter_reorders_and_duplication_doubles() {
    let (mut network, a, b) = pair(Link { jitter: ms(50), duplicate: 200, ..Link::default() });
    for number in 0..100_u8 {
        network.send(a, b, Bytes::copy_from_slice(&[number]));
    }
    assert!(!datagrams(&mut network).is_sorted(), "some overtook others");
    let (mut network, a, b) = pair(Link { duplicate: 200, ..Link::default() });
    (0..1000).for_each(|_| network.send(a, b, Bytes::from_static(b"x")));
    assert!(datagrams(&mut network).len().abs_diff(1200) < 60);
}

#[test]
fn held_back_datagram_arrives_behind_later_ones() {
    let (mut network, a, b) = pair(Link { latency: ms(10), reorder: 300, ..Link::default() });
    for number in 0..20_u8 {
        network.send(a, b, Bytes::copy_from_slice(&[number]));
    }
    let mut order = datagrams(&mut network);
    assert!(!order.is_sorted());
    order.sort();
    assert_eq!(order.len(), 20, "and none is lost");
}

#[test]
fn partition_loses_datagrams_on_their_way_too() {
    let (mut network, a, b) = pair(Link { latency: ms(10), ..Link::default() });
    network.send(a, b, Bytes::from_static(b"on its way"));
    network.partition(a, b);
    network.send(a, b, Bytes::from_static(b"never"));
    assert_eq!(network.poll(), None);
    network.heal(a, b);
    network.send(a, b, Bytes::from_static(b"again"));
    assert_eq!(datagrams(&mut network), [Bytes::from_static(b"again")]);
}

#[test]
fn deaf_node_is_still_heard() {
    let (mut network, a, b) = pair(Link::default());
    network.deafen(a, b);
    network.send(a, b, Bytes::from_static(b"heard"));
    network.send(b, a, Bytes::from_static(b"not heard"));
    assert_eq!(datagrams(&mut network), [Bytes::from_static(b"heard")]);
}

#[test]
fn members_of_a_group_lose_independently() {
    let mut network = Network::new(5);
    let sender = network.node();
    let group = network.group();
    let receivers: Vec<_> = (0..1000).map(|_| network.node()).collect();
    for receiver in &receivers {
        network.join(group, *receiver, Link { loss: 100, ..Link::default() });
    }
    network.join(group, sender, Link::default());
    let mut received = vec![0_u32; receivers.len() + 1];
    for _ in 0..10 {
        network.multicast(sender, group, &Bytes::from_static(b"symbol"));
    }
    while let Some((_, Delivery::Datagram { to, .. })) = network.poll() {
        received[to.index()] += 1;
    }
    assert_eq!(received[sender.index()], 0, "a sender does not hear itself");
    let complete = received.iter().filter(|count| **count == 10).count();
    // 0.9^10 = 34.9 % get all ten; were losses shared, it would be all or none.
    assert!(complete.abs_diff(349) < 75, "{complete}");
}

#[test]
fn poll_until_stops_at_the_deadline() {
    let (mut network, a, b) = pair(Link { latency: ms(10), ..Link::default() });
    network.send(a, b, Bytes::from_static(b"x"));
    let deadline = network.start() + ms(9);
    assert_eq!(network.poll_until(deadline), None);
    assert_eq!(network.now(), deadline);
    assert!(network.poll_until(deadline + ms(1)).is_some());
}

#[test]
fn stream_keeps_every_byte_in_order_however_it_is_cut() {
    let (mut network, a, b) = pair(Link { latency: ms(5), jitter: ms(30), loss: 100, ..Link::default() });
    let stream = network.open(a, b);
    let sent: Vec<u8> = (0..40_000_u32).flat_map(|n| n.to_be_bytes()).collect();
    let (mut rest, mut received, mut pieces) = (Bytes::from(sent.clone()), Vec::new(), 0);
    while let Some((_, delivery)) = network.poll() {
        let Delivery::Stream { side, event, .. } = delivery else { unreachable!("only a stream was opened") };
        match (side, event) {
            (Side::Opener, StreamEvent::Opened | StreamEvent::Writable) => {
                let written = network.write(stream, Side::Opener, &rest);
                rest = rest.slice(written..);
                if rest.is_empty() {
                    network.finish(stream, Side::Opener);
                }
            }
            (Side::Acceptor, StreamEvent::Data(bytes)) => {
                pieces += 1;
                received.extend_from_slice(&bytes);
            }
            (Side::Acceptor, StreamEvent::Finished) => {
                assert_eq!(received.len(), sent.len(), "FIN comes last")
            }
            _ => {}
        }
    }
    assert!(received == sent);
    assert!(pieces > 160, "{pieces}");
}

#[test]
fn stream_loses_nothing_through_stalls_and_partitions_of_any_seed() {
    for seed in 0..500 {
        let (mut network, mut rng) = (Network::new(seed), Rng::new(seed));
        let (a, b) = (network.node(), network.node());
        network.connect(a, b, Link { latency: ms(10), jitter: ms(40), loss: 200, ..Link::default() });
        let stream = network.open(a, b);
        network.set_largest_segment(stream, rng.within(1..3000));
        let mut sent = vec![0; 20_000];
        rng.fill(&mut sent);
        let (mut received, mut is_finished) = (Vec::new(), false);
        for part in sent.chunks(2_000) {
            assert_eq!(network.write(stream, Side::Opener, &Bytes::copy_from_slice(part)), part.len());
            match rng.below(4) {
                0 => network.partition(a, b),
                1 => network.stall(stream, Side::Opener, rng.duration(ms(500))),
                _ => network.heal(a, b),
            }
            let pause = network.now() + rng.duration(ms(100));
            while let Some((_, delivery)) = network.poll_until(pause) {
                receive(delivery, &mut received, &mut is_finished);
            }
        }
        network.heal(a, b);
        network.finish(stream, Side::Opener);
        while let Some((_, delivery)) = network.poll() {
            receive(delivery, &mut received, &mut is_finished);
        }
        assert!(received == sent && is_finished, "seed {seed}");
    }
}

#[test]
fn finished_side_still_receives() {
    let (mut network, a, b) = pair(Link { latency: ms(5), ..Link::default() });
    let stream = network.open(a, b);
    network.finish(stream, Side::Opener);
    network.write(stream, Side::Acceptor, &Bytes::from_static(b"x"));
    assert_eq!(
        events(&mut network),
        [
            (Side::Acceptor, StreamEvent::Opened),
            (Side::Acceptor, StreamEvent::Finished),
            (Side::Opener, StreamEvent::Opened),
            (Side::Opener, StreamEvent::Data(Bytes::from_static(b"x"))),
        ]
    );
}

#[test]
fn reset_loses_what_was_on_its_way() {
    let (mut network, a, b) = pair(Link { latency: ms(5), ..Link::default() });
    let stream = network.open(a, b);
    events(&mut network);
    network.write(stream, Side::Opener, &Bytes::from_static(b"lost"));
    network.reset(stream, Side::Opener);
    assert_eq!(events(&mut network), [(Side::Acceptor, StreamEvent::Reset)]);
}

#[test]
fn reset_in_a_partition_is_never_heard() {
    let (mut network, a, b) = pair(Link { latency: ms(5), ..Link::default() });
    let stream = network.open(a, b);
    events(&mut network);
    network.partition(a, b);
    network.reset(stream, Side::Opener);
    assert_eq!(events(&mut network), []);
}

#[test]
fn stream_waits_out_partition_and_stall() {
    let (mut network, a, b) = pair(Link::default());
    let stream = network.open(a, b);
    events(&mut network);
    network.partition(a, b);
    network.write(stream, Side::Opener, &Bytes::from_static(b"x"));
    assert_eq!(events(&mut network), []);
    network.heal(a, b);
    assert_eq!(events(&mut network).len(), 1);

    network.stall(stream, Side::Opener, ms(500));
    let stalled = network.now();
    network.write(stream, Side::Opener, &Bytes::from_static(b"y"));
    let (when, _) = network.poll().expect("a stall loses nothing");
    assert_eq!(when, stalled + ms(500));
}

#[test]
fn full_window_stops_the_writer_until_there_is_room() {
    let (mut network, a, b) = pair(Link { latency: ms(5), ..Link::default() });
    let stream = network.open(a, b);
    events(&mut network);
    let bytes = Bytes::from(vec![0; 100_000]);
    assert_eq!(network.write(stream, Side::Opener, &bytes), 65_536);
    assert_eq!(network.write(stream, Side::Opener, &bytes), 0);
    assert_eq!(events(&mut network).last(), Some(&(Side::Opener, StreamEvent::Writable)));
    assert_eq!(network.write(stream, Side::Opener, &bytes), 65_536);
}

/// A short busy history: datagrams, a group and a stream over bad links.
fn history(seed: u64) -> Digest {
    let burst = Burst { begin: 20, end: 300, loss: 800 };
    let link = Link {
        latency: ms(20),
        jitter: ms(15),
        loss: 20,
        burst: Some(burst),
        duplicate: 10,
        reorder: 10,
        ..Link::default()
    };
    let mut network = Network::new(seed);
    network.set_default_link(link.clone());
    let nodes: Vec<_> = (0..4).map(|_| network.node()).collect();
    let group = network.group();
    nodes.iter().for_each(|node| network.join(group, *node, link.clone()));
    let stream = network.open(nodes[0], nodes[1]);
    network.write(stream, Side::Opener, &Bytes::from_static(&[7; 4000]));
    for number in 0..20_u8 {
        network.send(nodes[1], nodes[2], Bytes::copy_from_slice(&[number; 40]));
        network.multicast(nodes[3], group, &Bytes::copy_from_slice(&[number; 40]));
    }
    network.finish(stream, Side::Opener);
    let mut digest = Digest::new();
    while let Some((when, delivery)) = network.poll() {
        digest.record(network.start(), when, &delivery);
    }
    digest
}

fn receive(delivery: Delivery, received: &mut Vec<u8>, is_finished: &mut bool) {
    match delivery {
        Delivery::Stream { side: Side::Acceptor, event: StreamEvent::Data(bytes), .. } => {
            received.extend(bytes)
        }
        Delivery::Stream { side: Side::Acceptor, event: StreamEvent::Finished, .. } => *is_finished = true,
        _ => {}
    }
}

fn pair(link: Link) -> (Network, NodeId, NodeId) {
    let mut network = Network::new(11);
    let (a, b) = (network.node(), network.node());
    network.connect(a, b, link);
    (network, a, b)
}

fn datagrams(network: &mut Network) -> Vec<Bytes> {
    let mut arrived = Vec::new();
    while let Some((_, Delivery::Datagram { bytes, .. })) = network.poll() {
        arrived.push(bytes);
    }
    arrived
}

fn events(network: &mut Network) -> Vec<(Side, StreamEvent)> {
    let mut seen = Vec::new();
    while let Some((_, Delivery::Stream { side, event, .. })) = network.poll() {
        seen.push((side, event));
    }
    seen
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
