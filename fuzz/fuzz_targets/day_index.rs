#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (cardinal_tests::fuzz::target("day_index").expect("a target of that name").run)(bytes);
});
