//! Engine and oracle agree on each record, for arbitrary bytes.

use std::path::Path;

use proptest::prelude::*;

use crate::judge::{APPENDED, Judge};
use crate::{cases, mutations, payloads};

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn any_bytes_are_read_as_by_the_oracle(
        values in prop::collection::vec(prop_oneof![payloads::good().prop_map(Some), payloads::hostile()], 1..4),
        timestamp in prop_oneof![Just(None), Just(Some(payloads::BASE * 1000)), Just(Some(APPENDED)), any::<i64>().prop_map(|t| Some(t.max(0)))],
    ) {
        let mut judge = Judge::default();
        for value in values {
            judge.ask(value.as_deref(), timestamp);
        }
    }
}

/// Number of mutated events in `make test`. MUTATIONS sets another number, MUTATIONS_SEED another seed.
const MUTATIONS: u64 = 200_000;

#[test]
fn mutated_purchases_are_read_as_by_the_oracle() {
    let number = |variable: &str| std::env::var(variable).ok().map(|text| text.parse().unwrap());
    let mut mutants = mutations::Mutants::new(number("MUTATIONS_SEED").unwrap_or(1));
    let (mut good, mut bad) = (0_u64, 0_u64);
    let mut judge = Judge::default();
    for i in 0..number("MUTATIONS").unwrap_or(MUTATIONS) {
        // A layout persists for a while, as in a topic, so that the decoder learns it.
        if i % 64 == 0 {
            mutants.change_layout();
        }
        match judge.ask(Some(mutants.next()), Some(APPENDED)).starts_with(|first: char| first.is_ascii_digit()) {
            true => good += 1,
            false => bad += 1,
        }
    }
    println!("{good} good, {bad} bad");
    assert!(good > bad / 4 && bad > good / 4, "{good} good, {bad} bad: too few of one kind");
}

/// The corpus of `cargo fuzz` and its former findings: records, separated by a byte that is invalid in UTF-8.
#[test]
fn fuzzer_corpus_is_read_as_by_the_oracle() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/decode");
    let mut files = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let mut judge = Judge::default();
        for value in std::fs::read(file.unwrap().path()).unwrap().split(|byte| *byte == 0xff) {
            judge.ask(Some(value), Some(APPENDED));
        }
        files += 1;
    }
    assert!(files > 500, "{files} files");
}

#[test]
fn payload_of_any_depth_or_length_has_a_fate() {
    let deep = |depth| format!("{{\"category\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    let long_number = |digits| format!("{{\"price\":0.{}1,\"category\":\"c\"}}", "0".repeat(digits));
    for payload in [deep(10), deep(100_000), deep(500_000), long_number(100_000)] {
        assert_eq!(Judge::default().ask(Some(payload.as_bytes()), None), "missing_field None");
    }
}
