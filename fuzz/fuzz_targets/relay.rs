//! libFuzzer's way to `tunnel::relay::relay`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::tunnel::relay::relay(data));
