//! The state of a pipeline as text.

use std::time::Duration;

use retail_api::{Pipeline, duration};
use retail_engine::Timestamp;
use retail_observe::{PartitionStatus, Speeds, Status};

use crate::text::{self, count, number_of, rate, share};

/// Width of the names of facts.
const NAMES: usize = 14;

/// Age of the newest event from which the text names it: event time is then behind the clock.
const OLD: Duration = Duration::from_secs(120);

/// The state, with the speeds of the last looks if there are several.
pub(super) fn text(pipeline: &Pipeline, status: &Status, speeds: Option<Speeds>) -> String {
    let mut text = format!("{}: {}\n", status.name, if status.ready { "ready" } else { "NOT READY" });
    for problem in &status.problems {
        text += &format!("  ! {problem}\n");
    }
    for (name, fact) in facts(pipeline, status, speeds) {
        text += &format!("{name:NAMES$}{fact}\n");
    }
    text + "\n" + &table(&status.partitions)
}

fn facts(pipeline: &Pipeline, status: &Status, speeds: Option<Speeds>) -> Vec<(&'static str, String)> {
    let mut facts = vec![("watermark", watermark(pipeline, status))];
    if let Some(hold) = &status.hold {
        let since = hold.since.map_or_else(String::new, |since| format!(" since {since}"));
        facts.push(("held by", format!("partition {}{since}: {}; until {}", hold.partition, hold.why, hold.until)));
    }
    let closed = status.closed_until.map_or_else(|| "no window is closed yet".to_owned(), |time| time.to_string());
    facts.push(("final up to", closed));
    facts.push(("open windows", open_windows(pipeline, status)));
    facts.push(("not processed", status.lag.map_or_else(|| "unknown".to_owned(), |lag| number_of(lag, "record"))));
    match (speeds, status.rate) {
        (Some(Speeds { sent, read, .. }), _) => {
            facts.push(("rate", format!("{} sent, {} processed", rate(sent), rate(read))));
        }
        (None, Some(average)) => {
            let span = duration::approximate(Duration::from_secs_f64(average.seconds));
            facts.push(("rate", format!("{} processed in {span} until the last commit", rate(average.processed))));
        }
        (None, None) => {}
    }
    facts.push(("records", fates(status)));
    if !status.rejected.is_empty() {
        facts.push(("rejected", rejected(status)));
    }
    let proof = status.proof.as_ref().map_or_else(
        || "none: `retail verify --record` records one".to_owned(),
        |proof| {
            let age = duration::approximate(status.taken_at.since(proof.recorded_at).into());
            format!("{} of {}, {age} ago", proof.number, proof.recorded_at)
        },
    );
    facts.push(("proof", proof));
    facts.push(("as of", status.taken_at.to_string()));
    facts
}

fn watermark(pipeline: &Pipeline, status: &Status) -> String {
    let holder = status.partitions.iter().find(|partition| partition.holds_watermark);
    match (status.watermark, holder) {
        (None, Some(holder)) => format!("none yet: partition {} has no event", holder.partition),
        (None, None) => "none yet".to_owned(),
        (Some(watermark), Some(holder)) => {
            let delay = duration::write(pipeline.rules.delay.into());
            let age = holder.newest_event.map(|newest| Duration::from(status.taken_at.since(newest)));
            let age = age
                .filter(|age| *age > OLD)
                .map_or_else(String::new, |age| format!(", which is {} old", duration::approximate(age)));
            format!("{watermark}, {delay} behind the newest event of partition {}{age}", holder.partition)
        }
        (Some(watermark), None) => format!("{watermark}; all partitions are idle"),
    }
}

fn open_windows(pipeline: &Pipeline, status: &Status) -> String {
    let Some(end) = status.next_close else { return "no open window has rows".to_owned() };
    let event = end.plus(pipeline.rules.delay);
    let by = match &status.hold {
        Some(hold) => format!(", by an event of {event} in partition {}", hold.partition),
        None => String::new(),
    };
    let open = count(status.open_windows);
    format!("{open} with rows; the next one closes when the watermark reaches {end}{by}")
}

/// The fates, with their shares. Fates without records are left out, except the first four.
fn fates(status: &Status) -> String {
    let records = status.offsets - status.fate("gaps");
    let always = ["applied", "late", "invalid", "future"];
    let at_times = ["filtered", "duplicate"].into_iter().filter(|name| status.fate(name) > 0);
    let shown = always.into_iter().chain(at_times).map(|name| match (name, status.fate(name)) {
        ("applied", number) => format!("{} applied", count(number)),
        (_, 0) => format!("0 {name}"),
        (_, number) => format!("{} {name} ({})", count(number), share(number, records)),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// The reasons of rejected records, the most frequent first.
fn rejected(status: &Status) -> String {
    let mut reasons: Vec<(&String, i64)> = status.rejected.iter().map(|(reason, records)| (reason, *records)).collect();
    reasons.sort_by_key(|(_, records)| std::cmp::Reverse(*records));
    let reasons: Vec<String> =
        reasons.iter().map(|(reason, records)| format!("{} {reason}", count(*records))).collect();
    format!("{}, among the newest dead letters", reasons.join(", "))
}

fn table(partitions: &[PartitionStatus]) -> String {
    let header = ["PARTITION", "NOT PROCESSED", "NEWEST EVENT", "LAST COMMIT", "STATE", "OWNER"].map(str::to_owned);
    let missing = || "-".to_owned();
    let time = |time: Option<Timestamp>| time.map_or_else(missing, |time| time.to_string());
    let rows = partitions.iter().map(|partition| {
        let holds = if partition.holds_watermark { ", HOLDS THE WATERMARK" } else { "" };
        [
            partition.partition.to_string(),
            partition.lag.map_or_else(missing, count),
            time(partition.newest_event),
            time(partition.last_commit),
            format!("{}{holds}", partition.state.as_str()),
            partition.owner.clone().unwrap_or_else(missing),
        ]
    });
    text::table(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use retail_observe::{HoldStatus, ProofStatus, RateStatus, State};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_secs(1_735_689_600 + second)
    }

    #[test]
    fn text_shows_problems_facts_and_partitions() {
        let yaml = "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {name: shop}\nspec:\n  \
                    kafka: {bootstrapServers: \"k:9092\"}\n  topic: {name: t}\n  database: {host: p, name: d}\n";
        let pipeline = Pipeline::parse(yaml).unwrap();
        let partition = |partition, state, holds_watermark| PartitionStatus {
            partition,
            lag: Some(1200),
            newest_event: Some(at(3600)),
            state,
            holds_watermark,
            owner: Some("host/1/worker-0".to_owned()),
            last_commit: Some(at(3602)),
        };
        let status = Status {
            name: "shop".to_owned(),
            ready: false,
            problems: vec!["closing windows failed".to_owned()],
            watermark: Some(at(0)),
            closed_until: Some(at(0)),
            next_close: Some(at(300)),
            open_windows: 13,
            lag: Some(2400),
            rate: Some(RateStatus { processed: 0.1, seconds: 300.0 }),
            partitions: vec![partition(0, State::Active, true), partition(1, State::Idle, false)],
            hold: Some(HoldStatus {
                partition: 0,
                since: Some(at(3590)),
                why: "it is behind".to_owned(),
                until: "it shows a newer event".to_owned(),
            }),
            offsets: 1_032_312,
            fates: BTreeMap::from([("applied", 1_002_000), ("late", 12), ("invalid", 300), ("duplicate", 30_000)]),
            rejected: BTreeMap::from([("bad_price".to_owned(), 20), ("malformed_json".to_owned(), 280)]),
            proof: Some(ProofStatus { number: 3, recorded_at: at(3540) }),
            taken_at: at(3602),
            log_ends: Some(2400),
            next_offsets: 0,
            last_commit: Some(at(3602)),
        };
        let speeds = Speeds { sent: 2000.4, read: 1000.0, watermark: 1.0 };
        insta::assert_snapshot!(text(&pipeline, &status, Some(speeds)), @r"
        shop: NOT READY
          ! closing windows failed
        watermark     2025-01-01T00:00:00Z, 1h behind the newest event of partition 0
        held by       partition 0 since 2025-01-01T00:59:50Z: it is behind; until it shows a newer event
        final up to   2025-01-01T00:00:00Z
        open windows  13 with rows; the next one closes when the watermark reaches 2025-01-01T00:05:00Z, by an event of 2025-01-01T01:05:00Z in partition 0
        not processed 2,400 records
        rate          2,000/s sent, 1,000/s processed
        records       1,002,000 applied, 12 late (0.0012 %), 300 invalid (0.029 %), 0 future, 30,000 duplicate (2.9 %)
        rejected      280 malformed_json, 20 bad_price, among the newest dead letters
        proof         3 of 2025-01-01T00:59:00Z, 1m2s ago
        as of         2025-01-01T01:00:02Z

        PARTITION  NOT PROCESSED  NEWEST EVENT          LAST COMMIT           STATE                        OWNER
        0          1,200          2025-01-01T01:00:00Z  2025-01-01T01:00:02Z  active, HOLDS THE WATERMARK  host/1/worker-0
        1          1,200          2025-01-01T01:00:00Z  2025-01-01T01:00:02Z  idle                         host/1/worker-0
        ");
        let first = Status {
            watermark: None,
            closed_until: None,
            next_close: None,
            open_windows: 0,
            rejected: BTreeMap::new(),
            taken_at: at(8000),
            ..status.clone()
        };
        let first = text(&pipeline, &first, None);
        for fact in [
            "watermark     none yet: partition 0 has no event\n",
            "final up to   no window is closed yet\n",
            "open windows  no open window has rows\n",
            "rate          6.0/min processed in 5m until the last commit\n",
        ] {
            assert!(first.contains(fact), "{first}");
        }
        assert!(!first.contains("rejected"), "{first}");
        let old = text(&pipeline, &Status { taken_at: at(8000), ..status }, None);
        assert!(old.contains("newest event of partition 0, which is 1h13m old\n"), "{old}");
    }
}
