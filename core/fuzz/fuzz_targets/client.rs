//! Fuzzes `backscroll_fuzz::client`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| backscroll_fuzz::client::run(data));
