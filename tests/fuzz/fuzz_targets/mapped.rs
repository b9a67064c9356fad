//! Compares engine and oracle on any sequence of records with a mapping.
//!
//! Run `cargo +nightly fuzz run mapped` in the directory above. `make test` replays the inputs in corpus/mapped.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../crates/engine/tests/it/mapped_judge.rs"]
#[allow(dead_code, reason = "the fuzzer makes its own records")]
mod mapped_judge;

use mapped_judge::{CASES, MappedJudge};

// The first byte is the number of a mapping. The separator 0xff never occurs in UTF-8. The readers learn from one record, and meet
// changes of it in the next.
fuzz_target!(|data: &[u8]| {
    let Some((case, records)) = data.split_first() else { return };
    let mut judge = MappedJudge::new((CASES[usize::from(*case) % CASES.len()].mapping)());
    for value in records.split(|byte| *byte == 0xff) {
        judge.ask(value);
    }
});
