//! libFuzzer's way to `tunnel::address`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::tunnel::address(data));
