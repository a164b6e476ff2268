use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use klnet_tunnel::pair::PairId;

use super::*;
use crate::handover::message::{Carry, Moved, Way};

#[tokio::test]
async fn descriptors_arrive_beside_their_message_in_order() {
    let (ours, mut theirs) = both();
    let (mut left, left_peer) = connected();
    let (mut right, right_peer) = connected();
    ours.send(&carry(), &[left_peer.as_fd(), right_peer.as_fd()]).await.unwrap();
    drop((left_peer, right_peer));
    let (message, descriptors) = theirs.receive().await.unwrap();
    assert_eq!(message, carry());
    let [first, second] = <[OwnedFd; 2]>::try_from(descriptors).unwrap();
    TcpStream::from(first).write_all(b"left").unwrap();
    TcpStream::from(second).write_all(b"right").unwrap();
    let (mut from_left, mut from_right) = (String::new(), String::new());
    left.read_to_string(&mut from_left).unwrap();
    right.read_to_string(&mut from_right).unwrap();
    assert_eq!((&from_left[..], &from_right[..]), ("left", "right"));
}

#[tokio::test]
async fn what_is_received_is_not_inherited_by_other_programs() {
    let (ours, mut theirs) = both();
    let (left, right) = connected();
    ours.send(&carry(), &[left.as_fd(), right.as_fd()]).await.unwrap();
    for descriptor in theirs.receive().await.unwrap().1 {
        assert!(rustix::io::fcntl_getfd(&descriptor).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
}

#[tokio::test]
async fn an_end_that_has_gone_is_told_from_silence() {
    let (mut ours, theirs) = both();
    drop(theirs);
    assert!(matches!(ours.receive().await, Err(LinkError::Gone)));
    assert!(matches!(ours.send(&Message::Done, &[]).await, Err(LinkError::Gone)));
}

#[tokio::test]
async fn what_was_said_before_the_end_is_still_heard() {
    let (ours, mut theirs) = both();
    ours.send(&Message::Done, &[]).await.unwrap();
    drop(ours);
    assert_eq!(theirs.receive().await.unwrap().0, Message::Done);
    assert!(matches!(theirs.receive().await, Err(LinkError::Gone)));
}

#[tokio::test]
async fn the_longest_message_gets_through() {
    let (ours, mut theirs) = both();
    let full = || Way::Copied(vec![7; 64 * 1024]);
    let (moved, silent) = (Moved::default(), std::time::Duration::ZERO);
    let message = Message::Carry(Carry { pair: PairId(1), moved, silent, there: full(), back: full() });
    let (left, right) = connected();
    ours.send(&message, &[left.as_fd(), right.as_fd()]).await.unwrap();
    assert_eq!(theirs.receive().await.unwrap().0, message);
}

#[tokio::test]
async fn a_message_that_is_too_long_is_not_taken_for_its_beginning() {
    let (ours, mut theirs) = both();
    // A field that nobody knows, as long as it likes.
    let mut long = Message::Done.encode();
    long.extend([0xa2, 0x06, 0xff, 0xff, 0x7f]);
    long.resize(LIMIT + 500, 0);
    send(ours.socket.as_fd(), &long, &[]).unwrap();
    assert!(matches!(theirs.receive().await, Err(LinkError::NotUnderstood(_))));
}

#[tokio::test]
async fn a_program_that_was_started_by_anyone_else_inherits_nothing() {
    assert!(Link::inherited().unwrap().is_none());
}

fn both() -> (Link, Link) {
    let (ours, theirs) = Link::pair().unwrap();
    (ours, Link::new(theirs).unwrap())
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (stream, listener.accept().unwrap().0)
}

fn carry() -> Message {
    let (moved, silent) = (Moved::default(), std::time::Duration::ZERO);
    Message::Carry(Carry { pair: PairId(1), moved, silent, there: Way::Open, back: Way::Open })
}
