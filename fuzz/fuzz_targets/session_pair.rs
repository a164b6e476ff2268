//! libFuzzer's way to `wire::session::session_pair`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::wire::session::session_pair(data));
