//! The commands of docs/tutorial/your-own-events.md and docs/how-to/read-registered-avro.md, as a reader types them.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use retail_testbed::{Kafka, Postgres, Registry, directory, unique};

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
            other => panic!("the page has a block of another kind: {other}"),
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
fn make(registry: &str) -> String {
    let (kafka, postgres) = (Kafka::shared().address(), Postgres::shared().url());
    let servers = [("kafka", &*kafka), ("postgres", &*postgres), ("registry", registry)];
    let cases: String = servers.iter().map(|(name, address)| format!("{name}) echo '{address}' ;; ")).collect();
    format!("make() {{ case $1 in build) ;; {cases}*) return 1 ;; esac; }}\n")
}

/// A line without the spaces at its end, and with 1 as the id of each schema: registries choose them.
fn comparable(line: &str) -> String {
    let mut parts = line.trim_end().split("schema ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        text += "schema ";
        text += if rest.len() < part.len() { "1" } else { "" };
        text += rest;
    }
    text
}

#[test]
fn own_events_tutorial_shows_what_its_commands_print() {
    shows_what_its_commands_print(include_str!("../../../docs/tutorial/your-own-events.md"), "coffee", "");
}

#[test]
fn registered_avro_page_shows_what_its_commands_print() {
    let page = include_str!("../../../docs/how-to/read-registered-avro.md");
    shows_what_its_commands_print(page, "bakery", &Registry::shared().url());
}

/// Runs the commands of a page. `subject` is the name of its topic and its schema.
fn shows_what_its_commands_print(page: &str, subject: &str, registry: &str) {
    let name = unique(subject).replace('-', "");
    let steps = steps(&page.replace(subject, &name));
    assert!(steps.len() > 7, "{} steps", steps.len());
    let checkout = checkout();
    let mut script = format!("set -euo pipefail\n{}", make(registry));
    for (number, step) in steps.iter().enumerate() {
        script += &format!("{{\n{}\n}} >output-{number} 2>&1 || {{ cat output-{number}; exit 1; }}\n", step.commands);
    }
    let run = Command::new("bash").current_dir(&checkout).arg("-c").arg(&script).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    for (number, step) in steps.iter().enumerate() {
        let output = std::fs::read_to_string(checkout.join(format!("output-{number}"))).unwrap();
        let printed: Vec<String> = output.lines().map(comparable).collect();
        for line in &step.shown {
            assert!(printed.contains(&comparable(line)), "{line:?} is not in:\n{output}");
        }
    }
    std::fs::remove_dir_all(checkout).unwrap();
}
