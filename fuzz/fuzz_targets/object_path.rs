//! libFuzzer's way to `multicast::object_path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::multicast::object_path(data));
