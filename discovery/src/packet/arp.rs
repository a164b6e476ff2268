//! ARP: who has this address on the link (RFC 826).

use std::net::{IpAddr, Ipv4Addr};

use pnet_packet::arp::{ArpHardwareTypes, ArpOperations, ArpPacket, MutableArpPacket};
use pnet_packet::ethernet::EtherTypes;

use super::{Frame, Ignored};
use crate::mac::Mac;

/// Asks everyone on the link who has `target`.
pub(crate) fn request(own: Mac, source: Ipv4Addr, target: Ipv4Addr) -> Frame {
    Frame::new((own, Mac::BROADCAST), EtherTypes::Arp, LENGTH, |bytes| {
        let mut packet = MutableArpPacket::new(bytes).expect("as long as a packet");
        packet.set_hardware_type(ArpHardwareTypes::Ethernet);
        packet.set_protocol_type(EtherTypes::Ipv4);
        packet.set_hw_addr_len(6);
        packet.set_proto_addr_len(4);
        packet.set_operation(ArpOperations::Request);
        packet.set_sender_hw_addr(own.0.into());
        packet.set_sender_proto_addr(source);
        packet.set_target_proto_addr(target);
    })
}

/// Who says to have which address, to us.
pub(crate) fn reply(own: Mac, source: Ipv4Addr, bytes: &[u8]) -> Result<(IpAddr, Mac), Ignored> {
    let packet = ArpPacket::new(bytes).ok_or(Ignored::Malformed("an ARP packet that is cut off"))?;
    let sizes = (packet.get_hw_addr_len(), packet.get_proto_addr_len());
    if packet.get_hardware_type() != ArpHardwareTypes::Ethernet
        || packet.get_protocol_type() != EtherTypes::Ipv4
        || sizes != (6, 4)
    {
        return Err(Ignored::Malformed("ARP for something else than IPv4 on Ethernet"));
    }
    let is_ours = packet.get_operation() == ArpOperations::Reply
        && packet.get_target_proto_addr() == source
        && packet.get_target_hw_addr().octets() == own.0;
    let mac = Mac(packet.get_sender_hw_addr().octets());
    match is_ours {
        false => Err(Ignored::Foreign),
        true if !mac.is_of_a_host() => Err(Ignored::Malformed("a hardware address that no host has")),
        true => Ok((packet.get_sender_proto_addr().into(), mac)),
    }
}

const LENGTH: usize = 28;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::open;

    #[test]
    fn a_request_has_these_bytes() {
        let frame = request(OWN, Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 1, 0, 9));
        let expected = [
            &[0xff; 6][..],
            &OWN.0,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &OWN.0,
            &[10, 1, 0, 1, 0, 0, 0, 0, 0, 0, 10, 1, 0, 9],
        ];
        assert_eq!(frame.as_bytes(), expected.concat());
    }

    #[test]
    fn a_reply_to_us_names_the_host() {
        let read = |bytes: &[u8]| reply(OWN, Ipv4Addr::new(10, 1, 0, 1), bytes);
        let bytes = answer(OTHER, OWN);
        assert_eq!(read(&bytes), Ok(([10, 1, 0, 9].into(), OTHER)));
        let (_, _, asked) = open(&[0; 14]).unwrap();
        assert!(matches!(read(asked), Err(Ignored::Malformed(_))));
        assert_eq!(read(&answer(OTHER, OTHER)), Err(Ignored::Foreign), "said to somebody else");
        assert!(matches!(read(&answer(Mac::BROADCAST, OWN)), Err(Ignored::Malformed(_))));
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    fn answer(sender: Mac, to: Mac) -> Vec<u8> {
        let head: &[u8] = &[0, 1, 8, 0, 6, 4, 0, 2];
        [head, &sender.0, &[10, 1, 0, 9], &to.0, &[10, 1, 0, 1]].concat()
    }

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 9]);
}
