//! Neighbour discovery (RFC 4861): who has this IPv6 address on the link.

use std::net::{IpAddr, Ipv6Addr};

use pnet_packet::icmpv6::Icmpv6Types;
use pnet_packet::icmpv6::ndp::{MutableNeighborSolicitPacket, NeighborAdvertPacket};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::util::ipv6_checksum;

use super::ip::{self, Datagram};
use super::{Frame, Ignored};
use crate::mac::Mac;

/// Asks the solicited-node group of `target` (RFC 4291, 2.7.1).
pub(crate) fn request(own: Mac, source: Ipv6Addr, target: Ipv6Addr) -> Frame {
    let [.., x, y, z] = target.octets();
    let last = u128::from(u32::from_be_bytes([0, x, y, z]));
    let group = Ipv6Addr::from_bits(GROUP.to_bits() | last);
    let macs = (own, Mac([0x33, 0x33, 0xff, x, y, z]));
    let protocol = (IpNextHeaderProtocols::Icmpv6, HOPS);
    ip::frame_v6(macs, (source, group), protocol, LENGTH, |bytes| {
        // The option at the end says which card asks (4.6.1).
        bytes[24..].copy_from_slice(&[&[1, 1][..], &own.0].concat());
        let mut packet = MutableNeighborSolicitPacket::new(bytes).expect("as long as a message");
        packet.set_icmpv6_type(Icmpv6Types::NeighborSolicit);
        packet.set_target_addr(target);
        let sum = sum(bytes, &source, &group);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    })
}

/// Who says to have which address; the card's address is that of the frame's sender when the message has none.
pub(crate) fn reply(own: Ipv6Addr, sender: Mac, datagram: &Datagram<'_>) -> Result<(IpAddr, Mac), Ignored> {
    let IpAddr::V6(source) = datagram.source else { return Err(Ignored::Foreign) };
    let cut = Ignored::Malformed("a neighbour advertisement that is cut off");
    let kind = *datagram.payload.first().ok_or(cut)?;
    if datagram.protocol != IpNextHeaderProtocols::Icmpv6
        || kind != Icmpv6Types::NeighborAdvert.0
        || datagram.target != IpAddr::V6(own)
    {
        return Err(Ignored::Foreign);
    }
    let packet = NeighborAdvertPacket::new(datagram.payload).ok_or(cut)?;
    // What came over a router was not sent by a neighbour (7.1.2).
    if datagram.hops != HOPS || packet.get_flags() & SOLICITED == 0 {
        return Err(Ignored::Malformed("a neighbour advertisement that nobody asked for"));
    }
    if packet.get_checksum() != sum(datagram.payload, &source, &own) {
        return Err(Ignored::Malformed("the checksum of a neighbour advertisement"));
    }
    let mac = target_mac(datagram.payload.get(24..).unwrap_or_default()).unwrap_or(sender);
    let known = mac.is_of_a_host().then_some((packet.get_target_addr().into(), mac));
    known.ok_or(Ignored::Malformed("a hardware address that no host has"))
}

/// The target's link-layer address among the options (4.6.1).
fn target_mac(mut options: &[u8]) -> Option<Mac> {
    while let [kind, eights, ..] = *options {
        let (option, rest) = options.split_at_checked(usize::from(eights) * 8)?;
        if (kind, eights) == (2, 1) {
            return option.last_chunk::<6>().copied().map(Mac);
        }
        // An option without length would never end.
        options = if eights == 0 { &[] } else { rest };
    }
    None
}

fn sum(bytes: &[u8], source: &Ipv6Addr, target: &Ipv6Addr) -> u16 {
    ipv6_checksum(bytes, 1, &[], source, target, IpNextHeaderProtocols::Icmpv6)
}

/// The solicited-node group without the last 24 bits.
const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0);
/// A message and its one option.
const LENGTH: usize = 32;
/// What no router has forwarded.
const HOPS: u8 = 255;
/// The S flag (4.4).
const SOLICITED: u8 = 0x40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::open;

    #[test]
    fn a_solicitation_goes_to_the_group_of_its_target() {
        let frame = request(MAC, HERE, THERE);
        let bytes = frame.as_bytes();
        assert_eq!((bytes.len(), &bytes[..6]), (86, &[0x33, 0x33, 0xff, 0, 0, 9][..]));
        let (_, kind, bytes) = open(bytes).unwrap();
        let datagram = ip::open(kind, bytes).unwrap();
        assert_eq!(datagram.target.to_string(), "ff02::1:ff00:9");
        let IpAddr::V6(group) = datagram.target else { panic!("not IPv6") };
        assert_eq!(sum(datagram.payload, &HERE, &group).to_be_bytes(), datagram.payload[2..4]);
    }

    #[test]
    fn an_advertisement_names_the_neighbour() {
        assert_eq!(read(&advertisement(SOLICITED, &[]), 255), Ok((THERE.into(), SENDER)));
        let other = [2, 1, 2, 0, 0, 0, 0, 7];
        let named = Ok((THERE.into(), Mac([2, 0, 0, 0, 0, 7])));
        assert_eq!(read(&advertisement(SOLICITED, &other), 255), named);
        assert!(read(&advertisement(0, &[]), 255).is_err(), "nobody asked");
        assert!(read(&advertisement(SOLICITED, &[]), 64).is_err(), "came over a router");
        assert!(read(&advertisement(SOLICITED, &[1, 0, 1, 1]), 255).is_ok(), "an option without length");
    }

    #[test]
    fn no_flipped_bit_passes_and_no_piece() {
        let sound = advertisement(SOLICITED, &[]);
        for bit in 0..8 * sound.len() {
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped, 255).is_err(), "bit {bit}");
        }
        assert!((0..sound.len()).all(|len| read(&sound[..len], 255).is_err()));
    }

    fn advertisement(flags: u8, options: &[u8]) -> Vec<u8> {
        let mut bytes = [&[136, 0, 0, 0, flags, 0, 0, 0], &THERE.octets()[..], options].concat();
        let sum = sum(&bytes, &THERE, &HERE);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn read(payload: &[u8], hops: u8) -> Result<(IpAddr, Mac), Ignored> {
        let (source, target) = (THERE.into(), HERE.into());
        let protocol = IpNextHeaderProtocols::Icmpv6;
        reply(HERE, SENDER, &Datagram { source, target, protocol, hops, payload })
    }

    const HERE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    const THERE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);
    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const SENDER: Mac = Mac([2, 0, 0, 0, 0, 9]);
}
