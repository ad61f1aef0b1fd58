#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| landfall_store_fuzz::laws::stored_value(data));
