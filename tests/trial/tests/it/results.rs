//! The committed tallies, and the page with their table.

use std::path::{Path, PathBuf};

use retail_trial::kind::KINDS;
use retail_trial::summary::in_page;
use retail_trial::tally::{Tally, committed};
use retail_trial::weights::Weights;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

#[test]
fn page_has_the_table_of_the_committed_tallies() {
    let files = committed(&root().join("tests/trial/results")).unwrap();
    let tally = Tally::read(&files).unwrap();
    assert!(tally.observed.values().sum::<u64>() >= 669, "{tally:?}");
    let page = std::fs::read_to_string(root().join("docs/explanation/guarantees-trial.md")).unwrap();
    assert_eq!(in_page(&page, &tally).unwrap(), page, "run dev/trial --docs");
    // What a campaign with NEEDED draws.
    let needed = Weights::needed(&tally.drawn, &tally.observed);
    assert!(KINDS.iter().all(|(kind, _, _)| needed.of(*kind) > 0), "{needed}");
}
