//! One function per decoder and per state machine of the workspace: any bytes in, nothing out, a panic when something
//! that must hold does not.
//!
//! Three ways to run them:
//! - `cargo test -p klnet-fuzz` replays `corpus/TARGET/*` and mutates it a few thousand times (`KLNET_LONG=1`: a
//!   million);
//! - `cargo +nightly fuzz run --features libfuzzer TARGET` searches for more with libFuzzer;
//! - `KLNET_BLESS=1 cargo test -p klnet-fuzz` writes the seeds again.
//!
//! An input that once broke something stays in its corpus for good.

pub mod discovery;
pub mod fixed;
pub mod ksnproxy;
pub mod multicast;
pub mod script;
#[cfg(feature = "server")]
pub mod server;
pub mod tunnel;
pub mod wire;

/// A target and its name, which is also the name of its corpus and of its libFuzzer program.
pub type Target = (&'static str, fn(&[u8]));

/// Every target there is.
pub const TARGETS: &[Target] = &[
    ("frame", wire::frame),
    ("message", wire::message),
    ("session", wire::session::session),
    ("session_pair", wire::session::session_pair),
    ("signed", wire::signed),
    ("keyset", wire::keyset),
    ("servers", wire::servers),
    ("duties", wire::duties),
    ("certificate", wire::identity::certificate),
    ("request", wire::identity::request),
    ("enrollment", wire::identity::enrollment),
    ("pem", wire::identity::pem),
    ("hello", tunnel::hello),
    ("grant", tunnel::grant),
    ("host", tunnel::host),
    ("blob", tunnel::blob),
    ("names", tunnel::names),
    ("stream", tunnel::stream),
    ("socks", tunnel::socks),
    ("record", tunnel::record),
    ("address", tunnel::address),
    ("relay", tunnel::relay::relay),
    ("target", tunnel::target::target),
    ("packet", multicast::packet),
    ("announcement", multicast::announcement),
    ("tags", multicast::tags),
    ("manifest", multicast::manifest),
    ("catalogue", multicast::catalogue),
    ("object_path", multicast::object_path),
    ("mark", multicast::mark),
    ("feedback", multicast::feedback),
    ("multicast_sender", multicast::sender::multicast_sender),
    ("multicast_receiver", multicast::receiver::multicast_receiver),
    ("range", discovery::range),
    ("probe", discovery::probe),
    ("reverse", discovery::reverse),
    ("mdns", discovery::mdns),
    ("nbns", discovery::nbns),
    ("ntlm", discovery::ntlm),
    ("smb", discovery::smb),
    ("wsd", discovery::wsd),
    ("sweep", discovery::machines::sweep),
    ("resolver", discovery::machines::resolver),
    ("inventory", discovery::machines::inventory),
    ("reputation_frame", ksnproxy::reputation_frame),
    ("reputation_ticket", ksnproxy::reputation_ticket),
    ("responder", ksnproxy::responder::responder),
    ("reputation_proxy", ksnproxy::proxy::reputation_proxy),
    #[cfg(feature = "server")]
    ("invitation", server::invitation),
    #[cfg(feature = "server")]
    ("config", server::config),
    #[cfg(feature = "server")]
    ("handover", server::handover),
    #[cfg(feature = "server")]
    ("export", server::export),
    #[cfg(feature = "server")]
    ("units", server::units),
    #[cfg(feature = "server")]
    ("key", server::key),
];
