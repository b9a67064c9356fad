//! Compares engine and oracle on any sequence of records.
//!
//! Run `cargo +nightly fuzz run decode` in the directory above. `make test` replays the inputs in corpus/decode.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../crates/engine/tests/it/judge.rs"]
mod judge;

// The separator 0xff never occurs in UTF-8. With several records, the decoder learns a layout from one and meets changes of it in
// the next.
fuzz_target!(|data: &[u8]| {
    let mut judge = judge::Judge::default();
    for value in data.split(|byte| *byte == 0xff) {
        judge.ask(Some(value), Some(judge::APPENDED));
    }
});
