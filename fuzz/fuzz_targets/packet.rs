//! libFuzzer's way to `multicast::packet`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::multicast::packet(data));
