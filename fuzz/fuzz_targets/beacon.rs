//! libFuzzer's way to `wire::identity::beacon`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::wire::identity::beacon(data));
