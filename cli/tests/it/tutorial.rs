//! The commands of docs/tutorial/your-own-events.md, as a reader types them.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use retail_testbed::{Kafka, Postgres, directory, unique};

use crate::RETAIL;

/// A block of commands with the lines that the page shows below it.
struct Step {
    commands: String,
    shown: Vec<String>,
}

/// The `sh` blocks of a page, each with the `text` block that follows.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = page.lines();
    while let Some(fence) = lines.by_ref().find(|line| line.starts_with("```")) {
        let block: Vec<String> = lines.by_ref().take_while(|line| *line != "```").map(str::to_owned).collect();
        match fence {
            "```sh" => steps.push(Step { commands: block.join("\n"), shown: Vec::new() }),
            "```text" => steps.last_mut().unwrap().shown.extend(block),
            other => panic!("the tutorial has a block of another kind: {other}"),
        }
    }
    steps
}

/// A directory that looks like the checkout after `make build`, to its reader.
fn checkout() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let checkout = directory().join(unique("tutorial"));
    let programs = checkout.join("target/release");
    std::fs::create_dir_all(&programs).unwrap();
    for name in ["retail", "retail-producer", "retail-processor"] {
        symlink(RETAIL, programs.join(name)).unwrap();
    }
    for name in ["examples", "dev"] {
        symlink(root.join(name), checkout.join(name)).unwrap();
    }
    std::fs::create_dir_all(checkout.join(".dev")).unwrap();
    symlink(Postgres::shared().directory(), checkout.join(".dev/postgres")).unwrap();
    checkout
}

/// `make` without the work that is done before: the programs are built, and the servers run.
fn make() -> String {
    let (kafka, postgres) = (Kafka::shared().address(), Postgres::shared().url());
    format!(
        "make() {{ case $1 in build) ;; kafka) echo '{kafka}' ;; postgres) echo '{postgres}' ;; *) return 1 ;; esac; }}\n"
    )
}

#[test]
fn own_events_tutorial_shows_what_its_commands_print() {
    let page = include_str!("../../../docs/tutorial/your-own-events.md");
    // Topic and schema of this test.
    let name = unique("coffee").replace('-', "");
    let steps = steps(&page.replace("coffee", &name));
    assert!(steps.len() > 8, "{} steps", steps.len());
    let checkout = checkout();
    let mut script = format!("set -euo pipefail\n{}", make());
    for (number, step) in steps.iter().enumerate() {
        script += &format!("{{\n{}\n}} >output-{number} 2>&1 || {{ cat output-{number}; exit 1; }}\n", step.commands);
    }
    let run = Command::new("bash").current_dir(&checkout).arg("-c").arg(&script).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    for (number, step) in steps.iter().enumerate() {
        let output = std::fs::read_to_string(checkout.join(format!("output-{number}"))).unwrap();
        let printed: Vec<&str> = output.lines().map(str::trim_end).collect();
        for line in &step.shown {
            assert!(printed.contains(&line.trim_end()), "{line:?} is not in:\n{output}");
        }
    }
    std::fs::remove_dir_all(checkout).unwrap();
}
