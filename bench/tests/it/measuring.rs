//! CPU and memory of a process tree.

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
fn cpu_of_an_orphan_is_counted() {
    let count = "i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done";
    let child = measure(count, &[]);
    let orphan = measure(&format!("(setsid sh -c '{count}' &); exit 0"), &[]);
    let nothing = measure("exit 0", &[]);
    assert_eq!((&orphan["exit_code"], &orphan["left_behind"]), (&0.into(), &0.into()));
    // Both do the same work. The test compares CPU times with each other, because durations depend on the machine.
    let share = (number(&orphan, "cpu") - number(&nothing, "cpu")) / (number(&child, "cpu") - number(&nothing, "cpu"));
    assert!(share > 0.3, "{share}: {orphan}, {child}, {nothing}");
}

#[test]
fn process_left_running_is_killed_and_counted() {
    let measured = measure("sleep 1000 & exit 3", &[]);
    assert_eq!((&measured["exit_code"], &measured["left_behind"]), (&3.into(), &1.into()));
}

#[test]
fn command_over_its_timeout_is_killed_and_reported() {
    let measured = measure("sleep 1000 & wait", &["--timeout", "300ms"]);
    assert_eq!((&measured["exit_code"], &measured["timed_out"]), (&Value::Null, &true.into()));
    assert!(number(&measured, "wall") < 100.0, "{measured}");
}

#[test]
fn memory_is_summed_over_the_process_tree() {
    // Each `tail` keeps 60 MB until its reader wakes up. On a busy machine, both buffers need more time to fill, so the test
    // retries with longer sleeps.
    let peak = |seconds: u32| {
        let keep = format!("head -c 60000000 /dev/zero | tail -c 60000000 | (sleep {seconds}; cat >/dev/null)");
        number(&measure(&format!("({keep}) & ({keep}) & wait"), &[]), "peak_mib")
    };
    let peaks = std::iter::successors(Some(1), |seconds| Some(seconds * 4)).map(peak);
    let seen: Vec<f64> =
        peaks.take(3).scan(false, |done, peak| (!std::mem::replace(done, peak > 110.0)).then_some(peak)).collect();
    assert!(seen.last().is_some_and(|peak| (110.0..250.0).contains(peak)), "{seen:?}");
}
