#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (cardinal_tests::fuzz::target("histogram").expect("a target of that name").run)(bytes);
});
