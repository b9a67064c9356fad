//! A small race of the systems in this repository, on real servers.

use std::process::Command;

use retail_testbed::{Kafka, Postgres};
use serde_json::Value;

#[test]
fn own_systems_read_all_records_and_are_exact() {
    let root = std::env::temp_dir().join(format!("retail-bench-{}", std::process::id()));
    std::fs::create_dir_all(&root).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_retail-bench"))
        .args(["run", "--quick", "--parts", "race", "--events", "20000", "--small-events", "2000"])
        .args(["--repetitions", "1", "--server", "Kafka=of the tests"])
        .arg("--root")
        .arg(&root)
        .env("RETAIL_BOOTSTRAP_SERVERS", Kafka::shared().address())
        .env("RETAIL_DATABASE_URL", Postgres::shared().url())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    let results: Value =
        serde_json::from_slice(&std::fs::read(root.join(".dev/bench/results-quick.json")).unwrap()).unwrap();
    let race = &results["race"]["figures"];
    let runs = race["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2 * race["systems"].as_array().unwrap().len());
    for run in runs {
        let name = run["system"].as_str().unwrap();
        if name.starts_with("limit") {
            assert_eq!(run["outcome"], "ReadAll", "{run}");
        } else {
            let verdict = &run["outcome"]["Compared"];
            let wrong = ["missing", "unexpected", "wrong"].map(|what| verdict[what].as_u64());
            assert_eq!(wrong, [Some(0); 3], "{run}");
            assert!(verdict["rows"].as_u64().unwrap() > 100, "{run}");
            assert!(run["first_row"].as_f64().unwrap() > 0.0, "{run}");
        }
        assert!(run["measured"]["cpu"].as_f64().unwrap() > 0.0, "{run}");
    }
    let table = String::from_utf8_lossy(&done.stdout);
    assert!(table.contains("| naive Rust service") && table.contains("equal |"), "{table}");
    std::fs::remove_dir_all(root).unwrap();
}
