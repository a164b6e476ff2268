//! What the kernel lets through to a packet socket: frames that look like answers, and nothing else on the link.
//!
//! Programs for the classic BPF machine; each looks at one kind of frame, since a socket is bound to one EtherType.

use libc::{
    BPF_ABS, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET, sock_filter,
};
use socket2::SockFilter;

use super::want::Want;

/// The program for answers of a kind.
pub(super) fn program(want: Want) -> Vec<SockFilter> {
    let checks = match want {
        Want::Arp => vec![(load(BPF_H, ARP_OPERATION), vec![REPLY])],
        Want::Echo => vec![
            (load(BPF_B, V4_PROTOCOL), vec![libc::IPPROTO_ICMP]),
            (load_behind_v4(BPF_B, 0), vec![ECHO_REPLY]),
        ],
        Want::Tcp(port) => vec![
            (load(BPF_B, V4_PROTOCOL), vec![libc::IPPROTO_TCP]),
            (load_behind_v4(BPF_H, 2), vec![port.into()]),
        ],
        Want::V6 => vec![
            (load(BPF_B, V6_PROTOCOL), vec![libc::IPPROTO_ICMPV6]),
            (load(BPF_B, V6_PAYLOAD), vec![ECHO_REPLY_V6, ADVERTISEMENT]),
        ],
    };
    assemble(checks)
}

/// Loads of a value, each followed by what it has to be; the frame is dropped when one is something else.
fn assemble(checks: Vec<(SockFilter, Vec<i32>)>) -> Vec<SockFilter> {
    let mut program = vec![instruction(BPF_LDX | BPF_B | BPF_MSH, ETHERNET)];
    for (load, values) in checks {
        program.push(load);
        for (at, value) in values.iter().enumerate() {
            // Jumps over what is left of this check when it holds, and to the drop behind it when nothing does.
            let left = u8::try_from(values.len() - at).expect("a handful of values");
            let value = u32::try_from(*value).expect("protocol numbers are positive");
            program.push(SockFilter::new(code(BPF_JMP | BPF_JEQ | BPF_K), left, 0, value));
        }
        program.push(instruction(BPF_RET | BPF_K, 0));
    }
    program.push(instruction(BPF_RET | BPF_K, SNAP));
    program
}

fn load(size: u32, at: u32) -> SockFilter {
    instruction(BPF_LD | size | BPF_ABS, at)
}

/// Loads from behind the IPv4 header, whose length the first instruction put into X.
fn load_behind_v4(size: u32, at: u32) -> SockFilter {
    instruction(BPF_LD | size | BPF_IND, ETHERNET + at)
}

fn instruction(of: u32, value: u32) -> SockFilter {
    SockFilter::new(code(of), 0, 0, value)
}

fn code(of: u32) -> u16 {
    u16::try_from(of).expect("opcodes have 16 bits")
}

/// The length of the Ethernet header.
const ETHERNET: u32 = 14;
const ARP_OPERATION: u32 = ETHERNET + 6;
const V4_PROTOCOL: u32 = ETHERNET + 9;
const V6_PROTOCOL: u32 = ETHERNET + 6;
const V6_PAYLOAD: u32 = ETHERNET + 40;
const REPLY: i32 = 2;
const ECHO_REPLY: i32 = 0;
const ECHO_REPLY_V6: i32 = 129;
const ADVERTISEMENT: i32 = 136;
/// How much of a frame is kept: no answer to these probes is longer.
const SNAP: u32 = 256;

const _: () = assert!(size_of::<SockFilter>() == size_of::<sock_filter>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_jump_only_forward_and_inside() {
        for want in [Want::Arp, Want::Echo, Want::Tcp(40_000), Want::V6] {
            let program = program(want);
            assert!(program.len() < 16, "{want:?}: {} instructions", program.len());
        }
    }
}
