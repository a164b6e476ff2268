//! A lifted pair as a message with descriptors beside it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use klnet_tunnel::net::mover::{Lifted, LiftedHalf, Residue};
use klnet_tunnel::net::relay::Moved;
use klnet_tunnel::pair::PairId;

use super::message::{Carry, Message, Way};

/// What to say of a pair, and what to put beside it.
pub(super) fn pack(pair: PairId, lifted: &Lifted, moved: Moved) -> (Carry, Vec<BorrowedFd<'_>>) {
    let Lifted { initiator, target, there, back, silent } = lifted;
    let mut descriptors = vec![initiator.as_fd(), target.as_fd()];
    let (there, back) = (way(there, &mut descriptors), way(back, &mut descriptors));
    (Carry { pair, moved: moved.into(), silent: *silent, there, back }, descriptors)
}

/// The pair that was packed; `None` when a descriptor is missing, and then those that came are closed.
pub(super) fn open(carry: Carry, descriptors: Vec<OwnedFd>) -> Option<Lifted> {
    let expected = Message::Carry(carry.clone()).descriptors();
    if descriptors.len() != expected {
        return None;
    }
    let mut descriptors = descriptors.into_iter();
    let (initiator, target) = (descriptors.next()?.into(), descriptors.next()?.into());
    let (there, back) = (half(carry.there, &mut descriptors)?, half(carry.back, &mut descriptors)?);
    Some(Lifted { initiator, target, there, back, silent: carry.silent })
}

fn way<'a>(half: &'a LiftedHalf, descriptors: &mut Vec<BorrowedFd<'a>>) -> Way {
    match half {
        LiftedHalf::Open => Way::Open,
        LiftedHalf::Ended => Way::Ended,
        LiftedHalf::Copied(bytes) => Way::Copied(bytes.clone()),
        LiftedHalf::Spliced(Residue { read, write, held }) => {
            descriptors.extend([read.as_fd(), write.as_fd()]);
            Way::Spliced(u32::try_from(*held).expect("a pipe holds a MiB at most"))
        }
    }
}

fn half(way: Way, descriptors: &mut impl Iterator<Item = OwnedFd>) -> Option<LiftedHalf> {
    Some(match way {
        Way::Open => LiftedHalf::Open,
        Way::Ended => LiftedHalf::Ended,
        Way::Copied(bytes) => LiftedHalf::Copied(bytes),
        Way::Spliced(held) => {
            let (read, write) = (descriptors.next()?, descriptors.next()?);
            LiftedHalf::Spliced(Residue { read, write, held: usize::try_from(held).ok()? })
        }
    })
}
