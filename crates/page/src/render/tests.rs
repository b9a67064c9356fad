//! The parts of the page, from facts without servers.

use std::time::Duration;

use retail_api::Pipeline;
use retail_engine::{Counts, Money, Timestamp};
use retail_kafka::KafkaError;
use retail_observe::{Logs, Status};
use retail_store::progress::{Progress, Rejection};
use retail_store::snapshot::{Detail, GroupSums, Groups, LateCount, ReasonCount, WindowSums};
use retail_store::{PartitionSnapshot, RecordedHold, Snapshot};

use super::*;
use crate::history::History;
use crate::state::Kafka;

/// Texts of a sender of records.
const HOSTILE: [&str; 4] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</title></svg><svg onload=alert(1)>",
];

fn pipeline() -> Pipeline {
    let yaml = "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {name: shop}\nspec:\n  \
                kafka: {bootstrapServers: \"k:9092\"}\n  topic: {name: t}\n  database: {host: p, name: d}\n";
    Pipeline::parse(yaml).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(1_735_689_600 + seconds)
}

fn window(number: i64, amount: &str, is_final: bool) -> WindowSums {
    let (start, end) = (at(300 * number), at(300 * number + 300));
    WindowSums { start, end, events: 10 + number, quantity: 20, amount: amount.to_owned(), is_final }
}

fn partition(partition: i32, newest: Option<i64>) -> PartitionSnapshot {
    PartitionSnapshot {
        partition,
        start_offset: 50,
        next_offset: 100,
        newest_event: newest.map(at),
        is_idle: false,
        idle_since: None,
        owner: Some("host/1/worker-0".to_owned()),
        committed_at: Some(at(9000)),
        counts: Counts { applied: 50, ..Counts::default() },
    }
}

/// Two partitions, of which the first holds the watermark at 00:06:40; one window is final, and four are open.
fn facts() -> Snapshot {
    let counts = Counts { applied: 95, late: 3, invalid: 2, ..Counts::default() };
    let progress =
        Progress { watermark: Some(at(400)), complete_through: Some(at(300)), counts, ..Progress::default() };
    let detail = Detail {
        windows: Some(vec![
            window(0, "120.5", true),
            window(1, "80", false),
            window(2, "60", false),
            window(3, "40", false),
            window(5, "1234.5678", false),
        ]),
        groups: Some(Groups {
            largest: vec![GroupSums {
                dimensions: vec!["Shoes".to_owned(), "Cash".to_owned()],
                amount: "1234567.5".to_owned(),
                share: 0.25,
            }],
            number: 40,
        }),
        letters: None,
        reasons: Some(vec![ReasonCount {
            reason: "late".to_owned(),
            number: 3,
            newest: at(8990),
            example: None,
            payload: None,
        }]),
        late: Some(late(&[(5, 2), (6, 1)])),
    };
    Snapshot {
        taken_at: at(9001),
        progress,
        held_by: Some(0),
        open_windows: 4,
        next_close: Some(at(600)),
        partitions: vec![partition(0, Some(4000)), partition(1, Some(4300))],
        proof: None,
        hold: None,
        rejected: vec![],
        speed: None,
        detail,
    }
}

fn late(counts: &[(usize, i64)]) -> Vec<LateCount> {
    let mut late = vec![LateCount::default(); crate::lateness::steps().len() + 1];
    for (bucket, events) in counts {
        late[*bucket] = LateCount { events: *events, amount: Money::from_millionths(i128::from(*events) * 10_000_000) };
    }
    late
}

fn rendered(facts: &Snapshot, logs: &Result<Logs, KafkaError>, error: Option<&str>) -> Vec<Part> {
    let pipeline = pipeline();
    let history = History::new(Duration::from_secs(5));
    let status = Status::new(&pipeline, facts, Some(logs.as_ref()));
    parts(&State {
        pipeline: &pipeline,
        facts: Some(facts),
        status: Some(&status),
        error,
        kafka: if logs.is_ok() { Kafka::Answers } else { Kafka::Fails },
        history: &history,
        payloads: true,
    })
}

#[allow(clippy::single_range_in_vec_init, reason = "each partition has a range of offsets")]
fn logs() -> Result<Logs, KafkaError> {
    Ok(vec![0..100, 0..250])
}

/// The content of a part as text, with a blank for each tag.
fn text(parts: &[Part], id: &str) -> String {
    let html = &parts.iter().find(|part| part.id == id).unwrap().html;
    let mut text = String::new();
    let mut rest = html.as_str();
    while let Some((before, tag)) = rest.split_once('<') {
        text += before;
        text.push(' ');
        rest = tag.split_once('>').map_or("", |(_, after)| after);
    }
    text += rest;
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn html(parts: &[Part], id: &str) -> String {
    parts.iter().find(|part| part.id == id).unwrap().html.clone()
}

#[test]
fn parts_show_the_facts() {
    let parts = rendered(&facts(), &logs(), None);
    assert_eq!(text(&parts, "status"), "ready");
    assert_eq!(
        text(&parts, "tiles"),
        "Watermark 00:06:40 01-01 1h behind the newest event of partition 0 Final up to 00:05 01-01 The next window closes when the \
         watermark reaches 00:10 Processed measuring Not processed 150 Records in the topic Late 3.0 % 2.0 % invalid, 0 % future"
    );
    assert_eq!(
        text(&parts, "partitions"),
        "Partition 0 holds the watermark : its newest event is 5m before those of the other partitions. The watermark moves when it \
         shows a newer event, or is idle after 1m without one. Worker host/1/worker-0 . P State Ahead of the watermark Newest event Not processed 0 active holds holds it 01:06:40 01-01 0 1 \
         active +5m 01:11:40 01-01 150"
    );
    assert!(text(&parts, "fates").ends_with("offsets ✓ the fates add up 100 100 %"), "{}", text(&parts, "fates"));
    assert!(text(&parts, "windows-table").contains("2025-01-01 00:25:00–00:30 open 15 20 1,234.5678"));
    assert!(text(&parts, "windows-table").contains("2025-01-01 00:05:00–00:10 closing 11 20 80.00"));
    assert!(text(&parts, "groups").starts_with("category, payment_method Running total Share Shoes · Cash"));
    assert!(text(&parts, "groups").contains("1,234,567.50 25 % The largest 1 of 40 groups."));
    assert_eq!(
        text(&parts, "lateness-table"),
        "Delay Lost Amount Share 1h 3 30.00 3.1 % 1h1m 3 30.00 3.1 % 1h2m 1 10.00 1.0 % 1h5m 0 0.00 0 %"
    );
}

/// The windows take their places in time, also those without rows between them.
#[test]
fn bars_stand_on_the_axis_of_time_and_the_watermark_between_them() {
    let chart = html(&rendered(&facts(), &logs(), None), "windows");
    assert_eq!(chart.matches("class=\"bar ").count(), 5);
    for kind in ["bar final", "bar closing", "bar open"] {
        assert!(chart.contains(kind), "{kind}");
    }
    // Six slots: the watermark is at 400 s of 1800 s, and the last bar in the sixth slot.
    assert!(chart.contains("<line class=\"watermark\" x1=\"22.22%\" x2=\"22.22%\""), "{chart}");
    assert!(chart.contains("x=\"84.67%\" width=\"14.00%\""), "{chart}");
}

/// The whole content, with a text in each place that others determine.
fn with_foreign_text(text: &str) -> String {
    let mut facts = facts();
    facts.detail.groups.as_mut().unwrap().largest[0].dimensions = vec![text.to_owned(), text.to_owned()];
    let reason = &mut facts.detail.reasons.as_mut().unwrap()[0];
    reason.reason = text.to_owned();
    reason.example = Some(text.to_owned());
    reason.payload = Some(text.as_bytes().to_vec());
    facts.partitions[0].owner = Some(text.to_owned());
    facts.partitions[1].owner = Some(text.to_owned());
    let reason = "silence".to_owned();
    facts.hold = Some(RecordedHold { since: at(0), partition: Some(0), reason, detail: text.to_owned() });
    facts.progress.rejection = Some(Rejection { since: at(0), sentence: text.to_owned() });
    rendered(&facts, &Err(KafkaError::missing_topic(text)), Some(text)).into_iter().map(|part| part.html).collect()
}

/// A text in an attribute or between tags changes no tag.
#[test]
fn foreign_texts_are_escaped_everywhere() {
    let plain = with_foreign_text("(plain)");
    assert!(plain.matches("(plain)").count() >= 12, "{plain}");
    for hostile in HOSTILE {
        let escaped = hostile.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
        assert_eq!(with_foreign_text(hostile).replace(&escaped, "(plain)"), plain, "{hostile}");
    }
}

#[test]
fn server_that_does_not_answer_is_a_problem_beside_the_last_state() {
    let parts = rendered(&facts(), &Err(KafkaError::missing_topic("t")), Some("no route"));
    assert_eq!(text(&parts, "status"), "2 problems");
    let problems = text(&parts, "problems");
    assert!(problems.contains("Postgres: no route; this page shows the state of 2025-01-01 02:30:01."), "{problems}");
    assert!(problems.contains("does not exist: create it with `retail apply-topic`."), "{problems}");
    assert!(text(&parts, "tiles").contains("Not processed unknown Kafka does not answer"));
    assert!(text(&parts, "groups").contains("Shoes"));
}

#[test]
fn partition_without_commits_is_a_problem_with_its_fix() {
    let mut facts = facts();
    facts.partitions[1].committed_at = Some(at(8000));
    let problems = text(&rendered(&facts, &logs(), None), "problems");
    assert_eq!(
        problems,
        "partition 1: 150 records are not processed, and its last commit was 16m41s ago by host/1/worker-0: check that a processor \
         runs, and its /readyz."
    );
    facts.partitions[0].counts.applied -= 1;
    let parts = rendered(&facts, &logs(), None);
    assert_eq!(text(&parts, "status"), "2 problems");
    assert!(text(&parts, "fates").contains("≠ the fates do not add up"));
}

#[test]
fn empty_schema_has_a_page_too() {
    let facts = Snapshot {
        taken_at: at(0),
        progress: Progress::default(),
        held_by: None,
        open_windows: 0,
        next_close: None,
        partitions: vec![],
        proof: None,
        hold: None,
        rejected: vec![],
        speed: None,
        detail: Detail {
            windows: Some(vec![]),
            groups: Some(Groups::default()),
            letters: None,
            reasons: Some(vec![]),
            late: Some(late(&[])),
        },
    };
    let parts = rendered(&facts, &Ok(vec![]), None);
    assert_eq!(text(&parts, "windows"), "No window has rows yet.");
    assert!(text(&parts, "tiles").contains("Watermark none yet Waiting for the first event"));
    assert_eq!(text(&parts, "lateness"), "No late event is stored.");
}
