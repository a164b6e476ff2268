//! libFuzzer's way to `multicast::multicast_receiver`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::multicast::receiver::multicast_receiver(data));
