//! The state of a pipeline as text.

use std::time::Duration;

use indicatif::HumanCount;
use retail_api::{Pipeline, duration};

use super::report::{PartitionStatus, State, Status};
use crate::text::{self, count, share};

/// Width of the names of facts.
const NAMES: usize = 14;

/// The state, with rates since `before`.
pub(super) fn text(pipeline: &Pipeline, status: &Status, before: Option<&Status>) -> String {
    let mut text = format!("{}: {}\n", status.name, if status.ready { "ready" } else { "NOT READY" });
    for problem in &status.problems {
        text += &format!("  ! {problem}\n");
    }
    for (name, fact) in facts(pipeline, status, before) {
        text += &format!("{name:NAMES$}{fact}\n");
    }
    text + "\n" + &table(&status.partitions)
}

fn facts(pipeline: &Pipeline, status: &Status, before: Option<&Status>) -> Vec<(&'static str, String)> {
    let now = status.taken_at;
    let holder = status.partitions.iter().find(|partition| partition.holds_watermark);
    let watermark = match (&status.watermark, holder) {
        (None, Some(holder)) => format!("none yet: partition {} has no event", holder.partition),
        (None, None) => "none yet".to_owned(),
        (Some(watermark), Some(holder)) => {
            let delay = duration::write(pipeline.rules.delay.into());
            format!("{watermark}, {delay} behind the newest event of partition {}", holder.partition)
        }
        (Some(watermark), None) => format!("{watermark}; all partitions are idle"),
    };
    let next = status.next_close.as_ref().map_or_else(
        || "no open window has rows".to_owned(),
        |end| format!("{} with rows; the next one closes when the watermark reaches {end}", status.open_windows),
    );
    let mut facts = vec![
        ("watermark", watermark),
        ("final up to", status.closed_until.clone().unwrap_or_else(|| "no window is closed yet".to_owned())),
        ("open windows", next),
        ("not processed", status.lag.map_or_else(|| "unknown".to_owned(), |lag| format!("{} records", count(lag)))),
    ];
    if let Some(before) = before {
        facts.push(("rate", rate(status, before)));
    }
    facts.push(("records", fates(status)));
    let proof = status.proof.as_ref().map_or_else(
        || "none: `retail verify --record` records one".to_owned(),
        |proof| format!("{} of {}", proof.number, proof.recorded_at),
    );
    facts.push(("proof", proof));
    facts.push(("as of", now.to_string()));
    facts
}

/// Processed records per second.
fn rate(status: &Status, before: &Status) -> String {
    let total = |status: &Status| status.fates.values().sum::<i64>();
    let seconds = Duration::from(status.taken_at.since(before.taken_at)).as_secs_f64();
    let rate = if seconds > 0.0 { (total(status) - total(before)) as f64 / seconds } else { 0.0 };
    format!("{} records/s processed", HumanCount(rate.max(0.0).round() as u64))
}

/// The fates, with their shares. Fates without records are left out, except the first four.
fn fates(status: &Status) -> String {
    let fate = |name: &str| status.fates.get(name).copied().unwrap_or_default();
    let records: i64 = status.fates.values().sum::<i64>() - fate("gaps");
    let always = ["applied", "late", "invalid", "future"];
    let names = always.into_iter().chain(["filtered", "duplicate"].into_iter().filter(|name| fate(name) > 0));
    let shown = names.map(|name| match (name, fate(name)) {
        ("applied", number) => format!("{} applied", count(number)),
        (_, 0) => format!("0 {name}"),
        (_, number) => format!("{} {name} ({})", count(number), share(number, records)),
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn table(partitions: &[PartitionStatus]) -> String {
    let header = ["PARTITION", "NOT PROCESSED", "NEWEST EVENT", "LAST COMMIT", "STATE", "OWNER"].map(str::to_owned);
    let missing = || "-".to_owned();
    let rows = partitions.iter().map(|partition| {
        let state = match partition.state {
            State::Active => "active",
            State::Idle => "idle",
            State::Silent => "silent",
            State::Unclaimed => "unclaimed",
        };
        [
            partition.partition.to_string(),
            partition.lag.map_or_else(missing, count),
            partition.newest_event.clone().unwrap_or_else(missing),
            partition.last_commit.clone().unwrap_or_else(missing),
            format!("{state}{}", if partition.holds_watermark { ", HOLDS THE WATERMARK" } else { "" }),
            partition.owner.clone().unwrap_or_else(missing),
        ]
    });
    text::table(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use retail_engine::Timestamp;

    use super::super::report::ProofStatus;
    use super::*;

    #[test]
    fn text_shows_problems_facts_and_partitions() {
        let yaml = "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {name: shop}\nspec:\n  \
                    kafka: {bootstrapServers: \"k:9092\"}\n  topic: {name: t}\n  database: {host: p, name: d}\n";
        let pipeline = Pipeline::parse(yaml).unwrap();
        let partition = |partition, state, holds_watermark| PartitionStatus {
            partition,
            lag: Some(1200),
            newest_event: Some("2025-01-01T01:00:00Z".to_owned()),
            state,
            holds_watermark,
            owner: Some("host/1/worker-0".to_owned()),
            last_commit: Some("2025-01-01T01:00:02Z".to_owned()),
        };
        let before = Status {
            name: "shop".to_owned(),
            ready: false,
            problems: vec!["closing windows failed".to_owned()],
            watermark: Some("2025-01-01T00:00:00Z".to_owned()),
            closed_until: Some("2025-01-01T00:00:00Z".to_owned()),
            next_close: Some("2025-01-01T00:05:00Z".to_owned()),
            open_windows: 13,
            lag: Some(2400),
            partitions: vec![partition(0, State::Active, true), partition(1, State::Idle, false)],
            fates: BTreeMap::from([("applied", 1_000_000), ("late", 12), ("invalid", 300), ("duplicate", 30_000)]),
            proof: Some(ProofStatus { number: 3, recorded_at: "2025-01-01T00:59:00Z".to_owned() }),
            taken_at: Timestamp::from_secs(1_735_693_200),
        };
        let mut now = before.clone();
        now.taken_at = Timestamp::from_secs(1_735_693_202);
        now.fates.insert("applied", 1_002_000);
        insta::assert_snapshot!(text(&pipeline, &now, Some(&before)), @r"
        shop: NOT READY
          ! closing windows failed
        watermark     2025-01-01T00:00:00Z, 1h behind the newest event of partition 0
        final up to   2025-01-01T00:00:00Z
        open windows  13 with rows; the next one closes when the watermark reaches 2025-01-01T00:05:00Z
        not processed 2,400 records
        rate          1,000 records/s processed
        records       1,002,000 applied, 12 late (0.0012 %), 300 invalid (0.029 %), 0 future, 30,000 duplicate (2.9 %)
        proof         3 of 2025-01-01T00:59:00Z
        as of         2025-01-01T01:00:02Z

        PARTITION  NOT PROCESSED  NEWEST EVENT          LAST COMMIT           STATE                        OWNER
        0          1,200          2025-01-01T01:00:00Z  2025-01-01T01:00:02Z  active, HOLDS THE WATERMARK  host/1/worker-0
        1          1,200          2025-01-01T01:00:00Z  2025-01-01T01:00:02Z  idle                         host/1/worker-0
        ");
        let first = Status { watermark: None, closed_until: None, next_close: None, open_windows: 0, ..before };
        let text = text(&pipeline, &first, None);
        for fact in [
            "watermark     none yet: partition 0 has no event\n",
            "final up to   no window is closed yet\n",
            "open windows  no open window has rows\n",
        ] {
            assert!(text.contains(fact), "{text}");
        }
        assert!(!text.contains("rate"), "{text}");
    }
}
