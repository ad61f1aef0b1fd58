#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| landfall_protocol_fuzz::laws::pieces(data));
