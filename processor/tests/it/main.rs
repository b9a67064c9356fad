//! `retail-processor` against a real Kafka and a real Postgres.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is test code")]

mod chaos;
mod crashes;
mod outages;
mod processing;
mod programs;
mod rebalance;
mod topics;

/// mimalloc tells what it did at the end of a program, if it is asked and is there. Without it a processor takes a third more CPU,
/// and nothing else would say so.
#[test]
#[cfg(target_os = "linux")]
fn processor_allocates_with_mimalloc() {
    let mut processor = std::process::Command::new(programs::PROCESSOR);
    let done = processor.arg("--version").env("MIMALLOC_SHOW_STATS", "1").output().unwrap();
    assert!(String::from_utf8_lossy(&done.stderr).contains("arenas"), "{done:?}");
}
