//! One sound input or more for each target, so that a fuzzer begins where the code is interesting.

mod discovery;
#[cfg(feature = "feeds")]
mod feeds;
mod ksnproxy;
mod multicast;
#[cfg(feature = "server")]
mod server;
mod tunnel;
mod wire;

/// Target, name and bytes.
pub(crate) type Seed = (&'static str, &'static str, Vec<u8>);

/// Every seed there is.
pub(crate) fn all() -> Vec<Seed> {
    let mut seeds = wire::seeds();
    seeds.extend(tunnel::seeds());
    seeds.extend(multicast::seeds());
    seeds.extend(discovery::seeds());
    seeds.extend(ksnproxy::seeds());
    #[cfg(feature = "server")]
    seeds.extend(server::seeds());
    #[cfg(feature = "feeds")]
    seeds.extend(feeds::seeds());
    seeds
}
