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
#[cfg(feature = "feeds")]
pub mod feeds;
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
    ("beacon", wire::identity::beacon),
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
    ("service", discovery::service),
    ("llmnr", discovery::llmnr),
    ("nbns", discovery::nbns),
    ("ntlm", discovery::ntlm),
    ("smb", discovery::smb),
    ("wsd", discovery::wsd),
    ("account", discovery::account::account),
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
    #[cfg(feature = "feeds")]
    ("feed_clamav", feeds::feed_clamav),
    #[cfg(feature = "feeds")]
    ("feed_cvd", feeds::feed_cvd),
    #[cfg(feature = "feeds")]
    ("feed_urlhaus", feeds::feed_urlhaus),
    #[cfg(feature = "feeds")]
    ("feed_malwarebazaar", feeds::feed_malwarebazaar),
    #[cfg(feature = "feeds")]
    ("feed_threatfox", feeds::feed_threatfox),
    #[cfg(feature = "feeds")]
    ("feed_sslbl", feeds::feed_sslbl),
    #[cfg(feature = "feeds")]
    ("feed_nsrl", feeds::feed_nsrl),
    #[cfg(feature = "feeds")]
    ("feed_misp", feeds::feed_misp),
    #[cfg(feature = "feeds")]
    ("feed_gsb", feeds::feed_gsb),
    #[cfg(feature = "feeds")]
    ("feed_stix", feeds::feed_stix),
    #[cfg(feature = "feeds")]
    ("feed_rpz", feeds::feed_rpz),
    #[cfg(feature = "feeds")]
    ("feed_plain", feeds::feed_plain),
    #[cfg(feature = "feeds")]
    ("url", feeds::url),
    #[cfg(feature = "feeds")]
    ("snapshot", feeds::snapshot),
];
