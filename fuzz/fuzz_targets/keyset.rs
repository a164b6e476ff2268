//! libFuzzer's way to `wire::keyset`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::wire::keyset(data));
