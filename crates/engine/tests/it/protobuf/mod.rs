//! Protobuf records: the engine and the oracle agree.

mod fixtures;
pub(crate) mod judges;
mod random;
mod values;
mod wire;

use std::path::Path;

/// The corpus of `cargo fuzz`.
#[test]
fn fuzzer_corpus_of_protobuf_is_read_as_by_the_oracle() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/protobuf");
    let mut files = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        judges::compare(&std::fs::read(file.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files > 10, "{files} files");
}
