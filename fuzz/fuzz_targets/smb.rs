//! libFuzzer's way to `discovery::smb`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klnet_fuzz::discovery::smb(data));
