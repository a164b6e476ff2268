//! TCP ping (RFC 9293): a SYN whose sequence number is its cookie; whoever answers acknowledges the next number.
//!
//! The kernel knows of no such connection and resets what a host would open, so nothing stays half open there.

use std::net::{IpAddr, Ipv4Addr};

use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::tcp::{MutableTcpPacket, TcpFlags, TcpPacket, ipv4_checksum};

use super::ip::{self, Datagram};
use super::{Frame, Ignored};
use crate::cookie::CookieKey;
use crate::mac::Mac;

/// A SYN to a port of `target`.
pub(crate) fn request(
    macs: (Mac, Mac),
    (source, target): (Ipv4Addr, Ipv4Addr),
    (from, to): (u16, u16),
    key: &CookieKey,
) -> Frame {
    ip::frame_v4(macs, (source, target), IpNextHeaderProtocols::Tcp, LENGTH, |bytes| {
        let mut packet = MutableTcpPacket::new(bytes).expect("as long as a header");
        packet.set_source(from);
        packet.set_destination(to);
        packet.set_sequence(number(key, target.into(), to));
        packet.set_data_offset(5);
        packet.set_flags(TcpFlags::SYN);
        packet.set_window(1024);
        let sum = ipv4_checksum(&packet.to_immutable(), &source, &target);
        packet.set_checksum(sum);
    })
}

/// Reads the answer to a SYN: whether the port is open.
pub(crate) fn reply(
    key: &CookieKey,
    (from, to): (u16, u16),
    datagram: &Datagram<'_>,
) -> Result<bool, Ignored> {
    let (IpAddr::V4(source), IpAddr::V4(target)) = (datagram.source, datagram.target) else {
        return Err(Ignored::Foreign);
    };
    let packet =
        TcpPacket::new(datagram.payload).ok_or(Ignored::Malformed("a TCP header that is cut off"))?;
    if datagram.protocol != IpNextHeaderProtocols::Tcp
        || (packet.get_source(), packet.get_destination()) != (to, from)
    {
        return Err(Ignored::Foreign);
    }
    let sound =
        [ipv4_checksum(&packet, &source, &target), left_to_a_card(source, target, datagram.payload.len())];
    if !sound.contains(&packet.get_checksum()) {
        return Err(Ignored::Malformed("the checksum of a TCP segment"));
    }
    let flags = packet.get_flags();
    let acknowledges = flags & TcpFlags::ACK != 0
        && packet.get_acknowledgement() == number(key, source.into(), to).wrapping_add(1);
    match (flags & TcpFlags::RST != 0, flags & TcpFlags::SYN != 0) {
        _ if !acknowledges => Err(Ignored::Forged),
        (true, _) => Ok(false),
        (false, true) => Ok(true),
        (false, false) => Err(Ignored::Foreign),
    }
}

/// What stands for a checksum in a segment from the same machine, of another container or a virtual machine: the sum of the
/// pseudo header (RFC 9293, 3.1), for a card to go on from that it never passes.
fn left_to_a_card(source: Ipv4Addr, target: Ipv4Addr, len: usize) -> u16 {
    let addresses = [source.octets(), target.octets()].concat();
    let words = addresses.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
    let len = u32::try_from(len).expect("a datagram is short");
    let sum = words.sum::<u32>() + u32::from(IpNextHeaderProtocols::Tcp.0) + len;
    let folded = (sum & 0xffff) + (sum >> 16);
    u16::try_from((folded & 0xffff) + (folded >> 16)).expect("folded twice")
}

/// The cookie as a sequence number: the same in every attempt, since the answer does not say which it is for.
fn number(key: &CookieKey, target: IpAddr, port: u16) -> u32 {
    u32::try_from(key.cookie(target, port) >> 32).expect("half of the bits")
}

/// A header without options.
const LENGTH: usize = 20;

#[cfg(test)]
mod tests {
    use pnet_packet::Packet;

    use super::*;
    use crate::packet::open;

    #[test]
    fn both_answers_to_a_syn_say_that_the_host_is_there() {
        let open = answer(TcpFlags::SYN | TcpFlags::ACK, 1);
        assert_eq!(read(&open), Ok(true));
        assert_eq!(read(&answer(TcpFlags::RST | TcpFlags::ACK, 1)), Ok(false));
        assert_eq!(read(&answer(TcpFlags::ACK, 1)), Err(Ignored::Foreign));
    }

    #[test]
    fn an_answer_that_does_not_acknowledge_the_cookie_is_forged() {
        assert_eq!(read(&answer(TcpFlags::SYN | TcpFlags::ACK, 2)), Err(Ignored::Forged));
        assert_eq!(read(&answer(TcpFlags::RST, 1)), Err(Ignored::Forged));
    }

    #[test]
    fn no_flipped_bit_passes_and_no_piece() {
        let sound = answer(TcpFlags::SYN | TcpFlags::ACK, 1);
        for bit in 0..8 * sound.len() {
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped).is_err(), "bit {bit}");
        }
        assert!((0..sound.len()).all(|len| read(&sound[..len]).is_err()));
    }

    #[test]
    fn a_segment_whose_checksum_was_left_to_a_card_is_an_answer() {
        let mut bytes = answer(TcpFlags::SYN | TcpFlags::ACK, 1);
        // 10.2.0.9, 10.1.0.1, protocol 6, 20 bytes.
        bytes[16..18].copy_from_slice(&(0x0a02_u16 + 0x0009 + 0x0a01 + 0x0001 + 6 + 20).to_be_bytes());
        assert_eq!(read(&bytes), Ok(true));
    }

    /// What a host answers to the request, `beyond` its sequence number.
    fn answer(flags: u8, beyond: u32) -> Vec<u8> {
        let frame = request((MAC, MAC), (HERE, THERE), (40_000, 443), &KEY);
        let (_, kind, bytes) = open(frame.as_bytes()).unwrap();
        let asked = ip::open(kind, bytes).unwrap().payload.to_vec();
        let sequence = TcpPacket::new(&asked).unwrap().get_sequence();
        let mut bytes = vec![0; LENGTH];
        let mut packet = MutableTcpPacket::new(&mut bytes).unwrap();
        packet.set_source(443);
        packet.set_destination(40_000);
        packet.set_acknowledgement(sequence.wrapping_add(beyond));
        packet.set_data_offset(5);
        packet.set_flags(flags);
        let sum = ipv4_checksum(&packet.to_immutable(), &THERE, &HERE);
        packet.set_checksum(sum);
        packet.packet().to_vec()
    }

    fn read(payload: &[u8]) -> Result<bool, Ignored> {
        let (source, target) = (THERE.into(), HERE.into());
        let protocol = IpNextHeaderProtocols::Tcp;
        reply(&KEY, (40_000, 443), &Datagram { source, target, protocol, hops: 64, payload })
    }

    const HERE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
    const THERE: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 9);
    const KEY: CookieKey = CookieKey::new([1; 16]);
    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
}
