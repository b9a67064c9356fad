//! Whatever records come one after the other, engine and oracle say the same of each.
//!
//! `cargo +nightly fuzz run decode`, from the directory above this one. What it keeps in corpus/decode is replayed by `make test`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../crates/engine/tests/it/judge.rs"]
mod judge;

// Records are parted by a byte that no text has. So the fuzzer can teach the decoder a layout, and then bend it.
fuzz_target!(|data: &[u8]| {
    let mut judge = judge::Judge::default();
    for value in data.split(|byte| *byte == 0xff) {
        judge.ask(Some(value), None);
    }
});
