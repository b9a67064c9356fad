//! Pages with generated sections: each is between `<!-- NAME: written by make docs -->` and `<!-- /NAME -->`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A file of the repository.
pub(crate) fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

/// The text of a file of the repository; empty if it does not exist.
pub(crate) fn read(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap_or_default()
}

/// Compares a page with its new text, or writes it.
pub(crate) fn compare(file: &str, fresh: &str) {
    if std::env::var_os("RETAIL_WRITE_DOCS").is_some() {
        return std::fs::write(path(file), fresh).unwrap();
    }
    let page = read(file);
    let differing = fresh.lines().zip(page.lines()).find(|(fresh, page)| fresh != page);
    assert!(fresh == page, "{file} is stale: run `make docs`. The first difference: {differing:?}");
}

/// Compares the generated sections of a page with their new texts, or writes them. The page must have these sections, and no other.
pub(crate) fn compare_sections(file: &str, sections: &[(String, String)]) {
    let page = read(file);
    let names: BTreeSet<&str> = sections.iter().map(|(name, _)| &**name).collect();
    let marked = marked(&page);
    assert!(
        marked.len() == sections.len() && marked.iter().copied().collect::<BTreeSet<_>>() == names,
        "{file} has the sections {marked:?}, not {names:?}"
    );
    let fresh = sections.iter().fold(page, |page, (name, text)| replaced(&page, name, text));
    compare(file, &fresh);
}

fn begin(name: &str) -> String {
    format!("<!-- {name}: written by `make docs` -->\n")
}

fn end(name: &str) -> String {
    format!("<!-- /{name} -->\n")
}

/// The names of the sections of a page, in their order.
pub(crate) fn marked(page: &str) -> Vec<&str> {
    page.lines().filter_map(|line| line.strip_prefix("<!-- ")?.strip_suffix(": written by `make docs` -->")).collect()
}

/// The page with another text in a section.
fn replaced(page: &str, name: &str, text: &str) -> String {
    let (before, rest) = page.split_once(&begin(name)).unwrap();
    let (_, after) = rest.split_once(&end(name)).unwrap_or_else(|| panic!("section {name} has no end"));
    format!("{before}{}\n{}\n\n{}{after}", begin(name), text.trim(), end(name))
}

/// A text as a sentence: with a full stop, unless it has one.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

#[test]
fn section_is_replaced_between_its_marks() {
    let page = format!("A\n\n{}old\n{}\nB\n", begin("x"), end("x"));
    let fresh = replaced(&page, "x", "new\n");
    assert_eq!(fresh, "A\n\n<!-- x: written by `make docs` -->\n\nnew\n\n<!-- /x -->\n\nB\n");
    assert_eq!(marked(&fresh), ["x"]);
    assert_eq!(replaced(&fresh, "x", "new"), fresh);
}
