//! libFuzzer's way to `wire::duties`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::wire::duties(data));
