//! libFuzzer's way to `tunnel::socks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::tunnel::socks(data));
