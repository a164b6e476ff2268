//! libFuzzer's way to `discovery::mdns`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::discovery::mdns(data));
