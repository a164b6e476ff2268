//! IPv4 and IPv6 headers (RFC 791, RFC 8200), as far as probes and their answers need them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet_packet::ethernet::{EtherType, EtherTypes};
use pnet_packet::ip::IpNextHeaderProtocol;
use pnet_packet::ipv4::{Ipv4Flags, Ipv4Packet, MutableIpv4Packet, checksum};
use pnet_packet::ipv6::{Ipv6Packet, MutableIpv6Packet};

use super::{Frame, Ignored};
use crate::mac::Mac;

/// A packet taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Datagram<'a> {
    pub(crate) source: IpAddr,
    pub(crate) target: IpAddr,
    pub(crate) protocol: IpNextHeaderProtocol,
    pub(crate) hops: u8,
    pub(crate) payload: &'a [u8],
}

/// A frame with a packet of `len` bytes behind its IPv4 header, which `fill` writes.
pub(crate) fn frame_v4(
    macs: (Mac, Mac),
    (source, target): (Ipv4Addr, Ipv4Addr),
    protocol: IpNextHeaderProtocol,
    len: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Frame {
    let total = V4_HEADER + len;
    Frame::new(macs, EtherTypes::Ipv4, total, |bytes| {
        fill(&mut bytes[V4_HEADER..]);
        let mut packet = MutableIpv4Packet::new(bytes).expect("longer than a header");
        packet.set_version(4);
        packet.set_header_length(5);
        packet.set_total_length(u16::try_from(total).expect("a probe is short"));
        packet.set_flags(Ipv4Flags::DontFragment);
        packet.set_ttl(HOPS);
        packet.set_next_level_protocol(protocol);
        packet.set_source(source);
        packet.set_destination(target);
        let sum = checksum(&packet.to_immutable());
        packet.set_checksum(sum);
    })
}

/// A frame with a packet of `len` bytes behind its IPv6 header, which `fill` writes.
pub(crate) fn frame_v6(
    macs: (Mac, Mac),
    (source, target): (Ipv6Addr, Ipv6Addr),
    (protocol, hops): (IpNextHeaderProtocol, u8),
    len: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Frame {
    Frame::new(macs, EtherTypes::Ipv6, V6_HEADER + len, |bytes| {
        fill(&mut bytes[V6_HEADER..]);
        let mut packet = MutableIpv6Packet::new(bytes).expect("longer than a header");
        packet.set_version(6);
        packet.set_payload_length(u16::try_from(len).expect("a probe is short"));
        packet.set_next_header(protocol);
        packet.set_hop_limit(hops);
        packet.set_source(source);
        packet.set_destination(target);
    })
}

/// Takes the packet of a frame apart; one with a broken header or in fragments is no answer to a probe.
pub(crate) fn open(kind: EtherType, bytes: &[u8]) -> Result<Datagram<'_>, Ignored> {
    match kind {
        EtherTypes::Ipv4 => open_v4(bytes),
        EtherTypes::Ipv6 => open_v6(bytes),
        _ => Err(Ignored::Foreign),
    }
}

fn open_v4(bytes: &[u8]) -> Result<Datagram<'_>, Ignored> {
    let packet = Ipv4Packet::new(bytes).ok_or(Ignored::Malformed("an IPv4 packet that is cut off"))?;
    let header = usize::from(packet.get_header_length()) * 4;
    let total = usize::from(packet.get_total_length());
    if packet.get_version() != 4 || header < V4_HEADER {
        return Err(Ignored::Malformed("an IPv4 header of another version or length"));
    }
    let payload = bytes.get(header..total).ok_or(Ignored::Malformed("an IPv4 packet of another length"))?;
    if checksum(&packet) != packet.get_checksum() {
        return Err(Ignored::Malformed("the checksum of an IPv4 header"));
    }
    if packet.get_fragment_offset() != 0 || packet.get_flags() & Ipv4Flags::MoreFragments != 0 {
        return Err(Ignored::Foreign);
    }
    Ok(Datagram {
        source: packet.get_source().into(),
        target: packet.get_destination().into(),
        protocol: packet.get_next_level_protocol(),
        hops: packet.get_ttl(),
        payload,
    })
}

/// Answers to probes come without extension headers.
fn open_v6(bytes: &[u8]) -> Result<Datagram<'_>, Ignored> {
    let packet = Ipv6Packet::new(bytes).ok_or(Ignored::Malformed("an IPv6 packet that is cut off"))?;
    if packet.get_version() != 6 {
        return Err(Ignored::Malformed("an IPv6 header of another version"));
    }
    let end = V6_HEADER + usize::from(packet.get_payload_length());
    let payload = bytes.get(V6_HEADER..end).ok_or(Ignored::Malformed("an IPv6 packet of another length"))?;
    Ok(Datagram {
        source: packet.get_source().into(),
        target: packet.get_destination().into(),
        protocol: packet.get_next_header(),
        hops: packet.get_hop_limit(),
        payload,
    })
}

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
/// The usual initial value (RFC 1700).
const HOPS: u8 = 64;

#[cfg(test)]
mod tests {
    use pnet_packet::ip::IpNextHeaderProtocols;

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let ends = (Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 2, 0, 9));
        let frame = frame_v4((MAC, MAC), ends, IpNextHeaderProtocols::Icmp, 3, |bytes| {
            bytes.copy_from_slice(b"abc");
        });
        let (_, kind, bytes) = crate::packet::open(frame.as_bytes()).unwrap();
        let datagram = open(kind, &[bytes, &[0; 6]].concat()).map(|datagram| datagram.payload.to_vec());
        assert_eq!(datagram, Ok(b"abc".to_vec()), "padding is not part of the packet");
        let datagram = open(kind, bytes).unwrap();
        assert_eq!((datagram.source, datagram.target), (ends.0.into(), ends.1.into()));
    }

    #[test]
    fn no_flipped_bit_of_a_header_passes() {
        let ends = (Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 2, 0, 9));
        let frame = frame_v4((MAC, MAC), ends, IpNextHeaderProtocols::Icmp, 0, |_| {});
        let header = &frame.as_bytes()[14..];
        for bit in 0..8 * V4_HEADER {
            let mut flipped = header.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open_v4(&flipped).is_err(), "bit {bit}");
        }
    }

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
}
