//! Fuzzes `backscroll_fuzz::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| backscroll_fuzz::frames::run(data));
