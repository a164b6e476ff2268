//! libFuzzer's way to `tunnel::blob`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::tunnel::blob(data));
