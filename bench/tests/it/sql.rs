//! The part `sql`, with a hundredth of its rows.

use std::process::Command;

use retail_testbed::Postgres;
use serde_json::Value;

#[test]
fn small_store_is_loaded_and_every_figure_is_measured() {
    let root = std::env::temp_dir().join(format!("retail-bench-sql-{}", std::process::id()));
    std::fs::create_dir_all(&root).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_retail-bench"))
        .args(["run", "--parts", "sql", "--sql-groups", "10", "--bootstrap-servers", "127.0.0.1:1"])
        .args(["--database-url", &Postgres::shared().url(), "--sql-database-url", &Postgres::shared().url()])
        .arg("--root")
        .arg(&root)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let results: Value = serde_json::from_slice(&std::fs::read(root.join(".dev/bench/results.json")).unwrap()).unwrap();
    let figures = &results["sql"]["figures"];
    assert_eq!((&figures["final_rows"], &figures["open_rows"]), (&100_000.into(), &6500.into()));
    let rows = figures["rows"].as_array().unwrap();
    let measured = |row: &&Value| row["cpu"].as_f64().is_some_and(|cpu| cpu > 0.0);
    // The longest transaction has a duration only.
    assert_eq!(rows.iter().filter(measured).count(), rows.len() - 1, "{rows:?}");
    assert!(rows.iter().all(|row| row["elapsed"].as_f64().is_some_and(|elapsed| elapsed > 0.0)), "{rows:?}");
    let closing = rows.iter().find(|row| row["name"] == "closing one window").unwrap();
    assert_eq!(closing["rows"], 500);
    let table = String::from_utf8_lossy(&done.stdout);
    assert!(
        table.contains("### The store at ten million rows") && table.contains("| a year of one group | 8,760 |"),
        "{table}"
    );
    std::fs::remove_dir_all(root).unwrap();
}
