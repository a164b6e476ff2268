//! ICMP echo (RFC 792, RFC 4443): the request carries its attempt as sequence number and its cookie as payload.

use std::net::{IpAddr, Ipv6Addr};

use pnet_packet::icmp::{self, IcmpPacket, IcmpTypes, MutableIcmpPacket};
use pnet_packet::icmpv6::{Icmpv6Packet, Icmpv6Types};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::util::ipv6_checksum;

use super::ip::{self, Datagram};
use super::{Frame, Ignored};
use crate::cookie::CookieKey;
use crate::mac::Mac;

/// An echo request to `target`; `None` when source and target are of two families.
pub(crate) fn request(
    macs: (Mac, Mac),
    ends: (IpAddr, IpAddr),
    identifier: u16,
    attempt: u16,
    cookie: u64,
) -> Option<Frame> {
    match ends {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let protocol = IpNextHeaderProtocols::Icmp;
            Some(ip::frame_v4(macs, (source, target), protocol, LENGTH, |bytes| {
                message(bytes, IcmpTypes::EchoRequest.0, identifier, attempt, cookie);
                let sum = icmp::checksum(&IcmpPacket::new(bytes).expect("as long as a message"));
                MutableIcmpPacket::new(bytes).expect("as long as a message").set_checksum(sum);
            }))
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let protocol = (IpNextHeaderProtocols::Icmpv6, HOPS);
            Some(ip::frame_v6(macs, (source, target), protocol, LENGTH, |bytes| {
                message(bytes, Icmpv6Types::EchoRequest.0, identifier, attempt, cookie);
                let sum = sum_v6(bytes, &source, &target);
                MutableIcmpPacket::new(bytes).expect("as long as a message").set_checksum(sum);
            }))
        }
        _ => None,
    }
}

/// The message without its checksum, as a ping socket takes it: the kernel adds identifier and checksum.
pub(crate) fn message(bytes: &mut [u8], kind: u8, identifier: u16, attempt: u16, cookie: u64) {
    let text =
        [&[kind, 0, 0, 0][..], &identifier.to_be_bytes(), &attempt.to_be_bytes(), &cookie.to_be_bytes()];
    bytes.copy_from_slice(&text.concat());
}

/// Reads an echo reply to a request that went to `asked`; the attempt it answers.
pub(crate) fn reply(
    key: &CookieKey,
    identifier: u16,
    asked: IpAddr,
    datagram: &Datagram<'_>,
) -> Result<u16, Ignored> {
    let bytes = datagram.payload;
    let packet = IcmpPacket::new(bytes).ok_or(Ignored::Malformed("an ICMP message that is cut off"))?;
    let (kind, sum) = match (datagram.protocol, datagram.source, datagram.target) {
        (IpNextHeaderProtocols::Icmp, ..) => (IcmpTypes::EchoReply.0, icmp::checksum(&packet)),
        (IpNextHeaderProtocols::Icmpv6, IpAddr::V6(source), IpAddr::V6(target)) => {
            (Icmpv6Types::EchoReply.0, sum_v6(bytes, &source, &target))
        }
        _ => return Err(Ignored::Foreign),
    };
    if packet.get_icmp_type().0 != kind {
        return Err(Ignored::Foreign);
    }
    if packet.get_checksum() != sum {
        return Err(Ignored::Malformed("the checksum of an ICMP message"));
    }
    let (theirs, attempt) = answered(key, asked, bytes)?;
    if theirs == identifier { Ok(attempt) } else { Err(Ignored::Foreign) }
}

/// Identifier and attempt of the message of an echo reply that carries the cookie of a request to `asked`.
pub(crate) fn answered(key: &CookieKey, asked: IpAddr, message: &[u8]) -> Result<(u16, u16), Ignored> {
    let cut = Ignored::Malformed("an echo reply that is cut off");
    let (head, cookie) = message.split_first_chunk::<8>().ok_or(cut)?;
    let [_, _, _, _, i, d, a, t] = *head;
    let (identifier, attempt) = (u16::from_be_bytes([i, d]), u16::from_be_bytes([a, t]));
    match cookie.first_chunk::<8>() {
        Some(cookie) if u64::from_be_bytes(*cookie) == key.cookie(asked, attempt) => {
            Ok((identifier, attempt))
        }
        _ => Err(Ignored::Forged),
    }
}

fn sum_v6(bytes: &[u8], source: &Ipv6Addr, target: &Ipv6Addr) -> u16 {
    debug_assert!(Icmpv6Packet::new(bytes).is_some());
    ipv6_checksum(bytes, 1, &[], source, target, IpNextHeaderProtocols::Icmpv6)
}

/// Header and cookie.
pub(crate) const LENGTH: usize = 16;
/// Echo is asked for over routers, unlike neighbours.
const HOPS: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::open;

    #[test]
    fn the_reply_to_a_request_is_known_by_its_cookie() {
        for (here, there) in [("10.1.0.1", "10.2.0.9"), ("fd00::1", "fd00::9")] {
            let (here, there): (IpAddr, IpAddr) = (here.parse().unwrap(), there.parse().unwrap());
            let answer = echoed(here, there, KEY.cookie(there, 3));
            assert_eq!(read(&answer), Ok(3), "{there}");
            assert_eq!(read(&echoed(here, there, 7)), Err(Ignored::Forged), "{there}");
        }
    }

    #[test]
    fn no_flipped_bit_passes_and_no_piece() {
        let (here, there) = ("10.1.0.1".parse().unwrap(), "10.2.0.9".parse().unwrap());
        let answer = echoed(here, there, KEY.cookie(there, 3));
        for bit in 0..8 * answer.payload.len() {
            let mut flipped = answer.payload.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&Echoed { payload: flipped, ..answer.clone() }).is_err(), "bit {bit}");
        }
        for len in 0..answer.payload.len() {
            let cut = Echoed { payload: answer.payload[..len].to_vec(), ..answer.clone() };
            assert!(read(&cut).is_err(), "{len} bytes");
        }
    }

    #[derive(Clone)]
    struct Echoed {
        source: IpAddr,
        target: IpAddr,
        payload: Vec<u8>,
    }

    /// What a host makes of a request: the same, turned round.
    fn echoed(here: IpAddr, there: IpAddr, cookie: u64) -> Echoed {
        let frame = request((MAC, MAC), (here, there), 77, 3, cookie).unwrap();
        let (_, kind, bytes) = open(frame.as_bytes()).unwrap();
        let mut payload = ip::open(kind, bytes).unwrap().payload.to_vec();
        payload[0] = if here.is_ipv4() { 0 } else { 129 };
        let sum = match (there, here) {
            (IpAddr::V6(source), IpAddr::V6(target)) => sum_v6(&payload, &source, &target),
            _ => icmp::checksum(&IcmpPacket::new(&payload).unwrap()),
        };
        payload[2..4].copy_from_slice(&sum.to_be_bytes());
        Echoed { source: there, target: here, payload }
    }

    fn read(echoed: &Echoed) -> Result<u16, Ignored> {
        let Echoed { source, target, payload } = echoed;
        let v4 = source.is_ipv4();
        let protocol = if v4 { IpNextHeaderProtocols::Icmp } else { IpNextHeaderProtocols::Icmpv6 };
        reply(&KEY, 77, *source, &Datagram { source: *source, target: *target, protocol, hops: 64, payload })
    }

    const KEY: CookieKey = CookieKey::new([1; 16]);
    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
}
