//! Fuzzes `backscroll_fuzz::documents`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| backscroll_fuzz::documents::run(data));
