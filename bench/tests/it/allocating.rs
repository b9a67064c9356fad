//! The allocator of each of the two programs.

use std::process::Command;

/// With this variable set, mimalloc prints statistics at the end of a program.
fn has_mimalloc(program: &str) -> bool {
    let done = Command::new(program).arg("--version").env("MIMALLOC_SHOW_STATS", "1").output().unwrap();
    assert!(done.status.success(), "{done:?}");
    String::from_utf8_lossy(&done.stderr).contains("arenas")
}

#[test]
fn mimalloc_is_only_in_the_program_with_its_name() {
    assert!(!has_mimalloc(env!("CARGO_BIN_EXE_retail-bench")));
    assert!(has_mimalloc(env!("CARGO_BIN_EXE_retail-bench-mimalloc")));
}
