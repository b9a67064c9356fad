//! What a process tree took.

use std::process::Command;

use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_retail-bench");

/// Measures a shell script.
fn measure(script: &str, options: &[&str]) -> Value {
    let mut command = Command::new(BENCH);
    command.args(["measure", "--output", "/dev/null", "--errors", "/dev/null"]).args(options);
    let done = command.args(["--", "sh", "-c", script]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

fn number(measured: &Value, field: &str) -> f64 {
    measured[field].as_f64().unwrap()
}

#[test]
fn the_cpu_of_a_grandchild_that_outlives_its_parent_counts() {
    let burn = "timeout 1 sh -c 'while :; do :; done'";
    let orphan = measure(&format!("(setsid {burn} &); exit 0"), &[]);
    assert!(number(&orphan, "cpu") > 0.2, "{orphan}");
    assert_eq!((&orphan["exit_code"], &orphan["left_behind"]), (&0.into(), &0.into()));
    // The command itself was done at once.
    assert!(number(&orphan, "wall") < 0.9, "{orphan}");
    let nothing = measure("exit 0", &[]);
    assert!(number(&nothing, "cpu") < 0.1, "{nothing}");
}

#[test]
fn what_is_left_running_is_ended_and_told() {
    let measured = measure("sleep 1000 & exit 3", &[]);
    assert_eq!((&measured["exit_code"], &measured["left_behind"]), (&3.into(), &1.into()));
}

#[test]
fn what_takes_too_long_is_ended_and_told() {
    let measured = measure("sleep 1000 & wait", &["--timeout", "300ms"]);
    assert_eq!((&measured["exit_code"], &measured["timed_out"]), (&Value::Null, &true.into()));
    assert!(number(&measured, "wall") < 100.0, "{measured}");
}

#[test]
fn memory_is_summed_over_the_tree() {
    // Each `tail` keeps 60 MB until its reader wakes up.
    let keep = "head -c 60000000 /dev/zero | tail -c 60000000 | (sleep 1.5; cat >/dev/null)";
    let measured = measure(&format!("({keep}) & ({keep}) & wait"), &[]);
    assert!((110.0..250.0).contains(&number(&measured, "peak_mib")), "{measured}");
}
