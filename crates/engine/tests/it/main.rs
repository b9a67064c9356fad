//! Tests of the engine against the oracle, and against published cases of other engines.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

mod allocations;
mod avro;
mod conformance;
mod differential;
mod duplicates;
mod framing;
mod judge;
mod layouts;
mod mapped;
mod mapped_judge;
mod mapped_values;
mod model;
mod mutations;
mod payloads;
mod protobuf;
mod streams;
mod values;

/// `cases` random cases, equal in every run. PROPTEST_CASES and PROPTEST_RNG_SEED override number and seed.
fn cases(cases: u32) -> ProptestConfig {
    let asked = |variable| std::env::var_os(variable).is_some();
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if !asked("PROPTEST_CASES") {
        config.cases = cases;
    }
    if !asked("PROPTEST_RNG_SEED") {
        config.rng_seed = RngSeed::Fixed(0);
    }
    config
}
