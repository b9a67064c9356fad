//! Whose allocator the two programs have: librdkafka alone is measured with either.

use std::process::Command;

/// mimalloc tells what it did at the end of a program, if it is asked and is there.
fn has_mimalloc(program: &str) -> bool {
    let done = Command::new(program).arg("--version").env("MIMALLOC_SHOW_STATS", "1").output().unwrap();
    assert!(done.status.success(), "{done:?}");
    String::from_utf8_lossy(&done.stderr).contains("arenas")
}

#[test]
fn only_the_one_that_is_called_so_has_mimalloc() {
    assert!(!has_mimalloc(env!("CARGO_BIN_EXE_retail-bench")));
    assert!(has_mimalloc(env!("CARGO_BIN_EXE_retail-bench-mimalloc")));
}
