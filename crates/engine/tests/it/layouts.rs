//! The fast readers of mapped records, which learn from earlier records, agree with the oracle on mutated ones.

use std::path::Path;

use retail_engine::Readers;

use crate::mapped_judge::{CASES, MappedCase, MappedJudge};
use crate::mutations::Mutants;

/// Number of mutated records in `make test`. MUTATIONS sets another number, MUTATIONS_SEED another seed.
const MUTATIONS: u64 = 100_000;

#[test]
fn mutated_mapped_records_are_read_as_by_the_oracle() {
    let number = |variable: &str| std::env::var(variable).ok().map(|text| text.parse().unwrap());
    let records = number("MUTATIONS").unwrap_or(MUTATIONS) / CASES.len() as u64 / 2;
    let seed = number("MUTATIONS_SEED").unwrap_or(1);
    for case in &CASES {
        // A layout persists for a while, as in a topic of one producer, or changes each time, as in a topic of several.
        let steady = read(case, seed, records, 256);
        let mixed = read(case, seed + 1, records, 1);
        let enough = records / 5;
        assert!(steady.line > enough && steady.slow > enough, "{steady:?}");
        assert!(mixed.graph > enough && mixed.slow > enough, "{mixed:?}");
    }
}

/// Compares mutated records, whose layout changes after this number of records.
fn read(case: &MappedCase, seed: u64, records: u64, run: u64) -> Readers {
    let mut mutants = Mutants::of(case.layouts, seed);
    let mut judge = MappedJudge::new((case.mapping)());
    let (mut good, mut bad) = (0_u64, 0_u64);
    for i in 0..records {
        if i % run == 0 {
            mutants.change_layout();
        }
        match judge.ask(mutants.next()).as_str() {
            "applied" | "filtered" => good += 1,
            _ => bad += 1,
        }
    }
    assert!(good > bad / 4 && bad > good / 4, "{good} good, {bad} bad: too few of one kind");
    judge.readers()
}

/// The corpus of `cargo fuzz`: the number of a mapping, and records, separated by a byte that is invalid in UTF-8.
#[test]
fn fuzzer_corpus_of_mapped_records_is_read_as_by_the_oracle() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/mapped");
    let mut files = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let data = std::fs::read(file.unwrap().path()).unwrap();
        let (case, records) = data.split_first().unwrap();
        let mut judge = MappedJudge::new((CASES[usize::from(*case) % CASES.len()].mapping)());
        records.split(|byte| *byte == 0xff).for_each(|value| drop(judge.ask(value)));
        files += 1;
    }
    assert!(files > 40, "{files} files");
}
