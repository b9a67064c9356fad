//! Compares engine and oracle on any Avro body, and on any schema.
//!
//! Run `cargo +nightly fuzz run avro` in the directory above. `make test` replays the inputs in corpus/avro.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../crates/engine/tests/it/avro/compare.rs"]
mod compare;
#[path = "../../../crates/engine/tests/it/mapped_judge.rs"]
#[allow(dead_code, reason = "the fuzzer makes its own records")]
mod mapped_judge;

fuzz_target!(|data: &[u8]| compare::compare(data));
