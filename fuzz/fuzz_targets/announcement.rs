//! libFuzzer's way to `multicast::announcement`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::multicast::announcement(data));
