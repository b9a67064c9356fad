//! A slice of the campaign.

use std::collections::VecDeque;
use std::path::Path;

use retail_trial::campaign::Campaign;
use retail_trial::kind::{KINDS, Kind};
use retail_trial::layout::Layout;
use retail_trial::schedule::{Draws, Schedule};
use retail_trial::weights::Weights;

/// Each kind is played, fourteen in a round. One whose effect was not observed is played again.
#[test]
fn every_kind_of_fault_is_observed_and_rows_are_exact() {
    let program = Path::new(env!("CARGO_BIN_EXE_retail-trial"));
    let mut campaign = Campaign::start(program, Draws::of(17, &Weights::default())).unwrap();
    let disks = campaign.has_small_disks();
    let possible = |kind: &Kind| disks || *kind != Kind::DiskFull;
    let mut left: VecDeque<Kind> = KINDS.iter().map(|(kind, _, _)| *kind).filter(possible).collect();
    let rounds = 5;
    let records = [(Layout::Items, Some(20)), (Layout::Orders, Some(5)), (Layout::Tutorial, None)];
    for round in 0..rounds {
        let kinds: Vec<Kind> = left.drain(..left.len().min(14)).collect();
        let (layout, within_min) = match kinds.iter().any(|kind| kind.needs_registry()) {
            true => (Layout::Avro, Some(10)),
            false => records[round % records.len()],
        };
        let schedule = Schedule { within_min, ..campaign.draw_of(&kinds, layout) };
        let played = campaign.play(schedule);
        assert_eq!(played.failure, None, "{played:?}; the logs are in {}", campaign.directory().display());
        assert!(played.compared.rows > 0, "{played:?}");
        assert_eq!(played.compared.duplicates > 0, within_min.is_some(), "{played:?}");
        assert_eq!(played.compared.filtered > 0, layout != Layout::Tutorial, "{played:?}");
        left.extend(kinds.iter().filter(|kind| !played.observed.contains_key(kind)));
        if left.is_empty() {
            return;
        }
    }
    panic!("not observed in {rounds} rounds: {left:?}");
}
