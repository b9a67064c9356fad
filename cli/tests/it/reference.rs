//! docs/reference/commands.md: commands and flags, as the programs describe themselves. `make docs` writes it.

use std::process::Command;

use crate::RETAIL;

#[test]
fn page_of_commands_is_fresh() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/commands.md");
    let directory = retail_testbed::directory().join("reference");
    std::fs::create_dir_all(&directory).unwrap();
    assert!(Command::new(RETAIL).args(["man", "--format", "markdown"]).arg(&directory).status().unwrap().success());
    let fresh = std::fs::read_to_string(directory.join("commands.md")).unwrap();
    if std::env::var_os("RETAIL_WRITE_DOCS").is_some() {
        return std::fs::write(page, fresh).unwrap();
    }
    let page = std::fs::read_to_string(page).unwrap_or_default();
    assert!(fresh == page, "docs/reference/commands.md is stale: run `make docs`");
}
