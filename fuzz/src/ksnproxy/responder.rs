//! Whoever answers datagrams and streams, under any frames.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use klnet_ksnproxy::cache::Cache;
use klnet_ksnproxy::clock::Moment;
use klnet_ksnproxy::cookie::Cookies;
use klnet_ksnproxy::frame::{DATAGRAM_LIMIT, Header, Op};
use klnet_ksnproxy::limiter::{Limiter, Rate};
use klnet_ksnproxy::policy::Policy;
use klnet_ksnproxy::responder::{Channel, Responder, Response, Shared};
use klnet_ksnproxy::ticket::Tickets;
use klnet_ksnproxy::verdict::Verdict;

use crate::script::Script;

/// No datagram is answered with more bytes than it has, nor a source without cookie with more than a challenge.
pub fn responder(data: &[u8]) {
    let mut script = Script::new(data);
    let mut now = Moment { instant: Instant::now(), unix: 1_000_000 };
    let cookies = Cookies::new([1; 16]);
    let mut responder = Responder::new(Arc::new(shared(cookies.clone(), now.instant)), Arc::default());
    while let Some(decision) = script.decision() {
        now.unix += u32::from(decision >> 6);
        let source = SocketAddr::from((Ipv4Addr::LOCALHOST, 1000 + u16::from(decision & 3)));
        let length = usize::from(script.short()) % (DATAGRAM_LIMIT + 1);
        let mut frame: Vec<u8> = (0..length).map(|_| script.byte()).collect();
        let proved = decision & 4 != 0 && length >= Header::LENGTH;
        if proved {
            frame[8..16].copy_from_slice(&cookies.make(source, now.unix).to_be_bytes());
        }
        let channel = if decision & 8 != 0 { Channel::Datagram(source) } else { Channel::Stream(source) };
        let mut room = vec![0; DATAGRAM_LIMIT];
        let answered = match responder.respond(now, channel, &mut frame, &mut room) {
            Response::Answer(length) => length,
            Response::Waiting(mut waiting) => {
                for (place, _) in waiting.missing().to_vec() {
                    waiting.take(place, &Verdict::unavailable(Duration::from_secs(1)));
                }
                waiting.finish(&mut room)
            }
            Response::Silence | Response::Close => 0,
        };
        assert!(answered <= length, "{answered} bytes for {length}");
        if answered > 0 {
            let header = Header::parse(&room).expect("an answer is a frame");
            assert!(proved || channel != Channel::Datagram(source) || header.op == Op::Challenge);
        }
    }
}

fn shared(cookies: Cookies, start: Instant) -> Shared {
    Shared {
        cache: Cache::new(1 << 12, [2; 16]),
        policy: Policy::default(),
        tickets: Tickets::new(4, 60),
        cookies,
        limiter: Limiter::new(Rate { keys: 100, burst: 100 }, [3; 16], start),
        allow_plain: true,
        snapshot: None.into(),
        alone: false,
        rest: 0.into(),
    }
}
