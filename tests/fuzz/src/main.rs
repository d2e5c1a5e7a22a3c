//! The fuzzer: runs the decoder that `FUZZ_TARGET` names.
//! Not here: how it is built; coverage needs flags that `cargo xtask fuzz` knows.
#![no_main]

use std::sync::OnceLock;

/// Looked up once: the environment does not change, and this is asked a million times.
static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let run = TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        fuzz::target(&name).unwrap_or_else(|| panic!("FUZZ_TARGET: there is no target `{name}`"))
    });
    run(bytes);
});
