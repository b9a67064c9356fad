//! The independent oracle, in a language of its own: the Python program in `oracle/`.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::Deserialize;

/// Its modules. They are part of this program, so that a campaign does not change while it runs.
const MODULES: [(&str, &str); 7] = [
    ("__main__.py", include_str!("../oracle/__main__.py")),
    ("avro.py", include_str!("../oracle/avro.py")),
    ("condition.py", include_str!("../oracle/condition.py")),
    ("duplicates.py", include_str!("../oracle/duplicates.py")),
    ("mapping.py", include_str!("../oracle/mapping.py")),
    ("tutorial.py", include_str!("../oracle/tutorial.py")),
    ("values.py", include_str!("../oracle/values.py")),
];

/// The output of the oracle.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Verdict {
    /// Rows of `retail`.
    pub rows: u64,
    /// Records of the topic.
    pub records: u64,
    /// Dead letters.
    pub letters: u64,
    /// Filtered records.
    pub filtered: u64,
    /// Duplicates.
    pub duplicates: u64,
    /// Decisions to close windows.
    pub closes: u64,
    /// Number of differences.
    pub differences: u64,
    /// The first differences.
    pub first: Vec<String>,
}

/// Recomputes a round from the JSON lines that `oracle/__main__.py` describes, and compares it with their tables.
///
/// # Errors
///
/// If Python is missing, or the lines are not those of a round.
pub fn judge(lines: &str) -> Result<Verdict> {
    let program = Program::write()?;
    let mut oracle = Command::new("python3")
        .arg("-B")
        .arg(&program.directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("the oracle needs python3")?;
    let mut stdin = oracle.stdin.take().context("a pipe")?;
    let output = std::thread::scope(|scope| {
        // It reads everything before it writes.
        let writing = scope.spawn(move || stdin.write_all(lines.as_bytes()));
        let output = oracle.wait_with_output();
        drop(writing.join());
        output
    })?;
    serde_json::from_slice(&output.stdout).context("the oracle did not answer")
}

/// The directory of the modules, which Python runs. Dropping the value deletes it.
struct Program {
    directory: PathBuf,
}

impl Program {
    fn write() -> Result<Self> {
        let directory = retail_testbed::directory().join(retail_testbed::unique("oracle"));
        std::fs::create_dir_all(&directory)?;
        let program = Self { directory };
        for (name, text) in MODULES {
            std::fs::write(program.directory.join(name), text)?;
        }
        Ok(program)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A directory that stays costs a few kilobytes.
        drop(std::fs::remove_dir_all(&self.directory));
    }
}
