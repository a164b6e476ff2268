//! libFuzzer's way to `wire::identity::enrollment`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::wire::identity::enrollment(data));
