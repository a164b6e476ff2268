//! libFuzzer's way to `multicast::multicast_sender`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::multicast::sender::multicast_sender(data));
