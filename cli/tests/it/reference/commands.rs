//! docs/reference/commands.md: commands and flags, as the programs describe themselves.

use std::process::Command;

use super::page;
use crate::RETAIL;

#[test]
fn page_of_commands_is_fresh() {
    let directory = retail_testbed::directory().join("reference");
    std::fs::create_dir_all(&directory).unwrap();
    assert!(Command::new(RETAIL).args(["man", "--format", "markdown"]).arg(&directory).status().unwrap().success());
    let fresh = std::fs::read_to_string(directory.join("commands.md")).unwrap();
    page::compare("docs/reference/commands.md", &fresh);
}
