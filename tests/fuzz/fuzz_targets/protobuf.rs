//! Compares engine and oracle on any Protobuf message, and on any schema.
//!
//! Run `cargo +nightly fuzz run protobuf` in the directory above. `make test` replays the inputs in corpus/protobuf.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../crates/engine/tests/it/protobuf/judges.rs"]
#[allow(dead_code, reason = "the fuzzer makes its own records")]
mod judges;
#[path = "../../../crates/engine/tests/it/mapped_judge.rs"]
#[allow(dead_code, reason = "only its mappings are used")]
mod mapped_judge;

fuzz_target!(|data: &[u8]| judges::compare(data));
