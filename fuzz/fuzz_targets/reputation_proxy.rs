//! libFuzzer's way to `ksnproxy::proxy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::ksnproxy::proxy::reputation_proxy(data));
