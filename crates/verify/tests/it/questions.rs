//! Explanations and other delays, against the rows, the ledger and the dead letters of real servers.

use std::time::Duration;

use retail_testbed::{Case, Feeder, Sent, at, purchase};
use retail_verify::{
    RecordExplanation, VerifyError, WhatIf, WhatIfOptions, explain_record, explain_row, what_if, window_time,
};

async fn explain(case: &Case, partition: i32, offset: i64) -> RecordExplanation {
    explain_record(&case.settings, partition, offset, |_, _| {}).await.unwrap()
}

async fn ask(case: &Case, delays: &[u64], last: Option<Duration>) -> WhatIf {
    let delays = delays.iter().map(|seconds| Duration::from_secs(*seconds)).collect();
    what_if(&case.settings, WhatIfOptions { delays, max_late: Some(0.1), last }, |_, _| {}).await.unwrap()
}

/// Random numbers, equal in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % bound
    }

    /// A record of a partition, at some minute of the topic.
    fn record(&mut self, partition: i32, minute: i64) -> Sent {
        let timestamp = minute * 60 + self.below(60);
        let event = match self.below(10) {
            0 | 1 => timestamp - self.below(20_000),
            2 => timestamp + self.below(8000),
            3 => timestamp - 3600 - self.below(300),
            _ => timestamp - self.below(900),
        };
        let category = ["A", "B"][usize::try_from(self.below(2)).unwrap()];
        let value = match self.below(12) {
            0 => b"not a purchase".to_vec(),
            1 => br#"{"category":"A"}"#.to_vec(),
            _ => purchase(category, "1.25", event),
        };
        Sent { partition, timestamp, value: Some(value) }
    }
}

/// A case with closed windows, decisions between its records, and a floor that makes events of partition 1 late.
async fn processed() -> Case {
    let case = Case::shared().partitions(2).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    let mut random = Random(5);
    for step in 0..6 {
        let minutes = (600 + step * 20)..(600 + (step + 1) * 20);
        // Partition 1 is idle for two of the steps.
        let is_idle = step == 2 || step == 3;
        let partitions = if is_idle { 0..1 } else { 0..2 };
        let mut records: Vec<Sent> = minutes
            .step_by(4)
            .flat_map(|minute| partitions.clone().map(move |partition| (partition, minute)))
            .map(|(partition, minute)| random.record(partition, minute))
            .collect();
        if step == 4 {
            // Its window was open for what partition 1 had shown, but closed past it.
            let event = purchase("B", "1.25", 590 * 60);
            records.insert(0, Sent { partition: 1, timestamp: 680 * 60, value: Some(event) });
        }
        case.topic.send(&records);
        feeder.feed(&records);
        feeder.commit(if is_idle { &[1] } else { &[] }).await.unwrap();
        feeder.close().await;
        // A close has raised the floor of the idle partition.
        feeder.claim(&[0, 1]).await;
    }
    case
}

/// Each offset has the fate of the ledger and of the dead letters, as have the rows.
#[tokio::test]
async fn explained_fates_equal_ledger_and_dead_letters() {
    let case = processed().await;
    case.assert_exact().await;
    let mut seen = [("applied", 0), ("late", 0), ("invalid", 0), ("future", 0)];
    let (mut by_floor, mut by_observed, mut known_offsets) = (0, 0, 0);
    let mut all = [Vec::new(), Vec::new()];
    for (partition, explained) in (0..).zip(&mut all) {
        for offset in 0..case.topic.end(partition) {
            explained.push(explain(&case, partition, offset).await);
        }
    }
    for (partition, of_partition) in (0..).zip(&all) {
        for (offset, explained) in (0..).zip(of_partition) {
            let place = format!("partition {partition} offset {offset}: {explained:?}");
            let letter = format!(
                "SELECT concat_ws(' ', reason, extract(epoch FROM missed_by)::bigint) FROM dead_letter
                 WHERE partition = {partition} AND \"offset\" = {offset}"
            );
            let reason = explained.reason.clone().unwrap_or_else(|| explained.fate.to_owned());
            let expected = match (explained.fate, &explained.missed_by) {
                ("applied", _) => "NULL".to_owned(),
                ("late", Some(missed_by)) => {
                    let missed_by = retail_api::duration::read(missed_by).unwrap();
                    format!("late {}", missed_by.as_secs())
                }
                _ => reason,
            };
            assert_eq!(case.text(&letter).await, expected, "{place}");
            assert_eq!(explained.contradiction, None, "{place}");
            seen.iter_mut().find(|(fate, _)| *fate == explained.fate).unwrap_or_else(|| panic!("{place}")).1 += 1;
            if explained.fate == "late" {
                by_observed += i32::from(explained.counted_by_delay.is_some());
                by_floor += i32::from(explained.because.contains("Partition 1 was idle from "));
            }
            // The record that has shown the latest observed time is named, with its time.
            if let Some(before) = &explained.observed_before {
                let shown = &of_partition[usize::try_from(before.offset.unwrap()).unwrap()];
                let earlier = shown.event_time.clone().min(shown.record_time.clone());
                assert!(before.offset < Some(offset) && earlier.as_ref() == Some(&before.time), "{place}, {shown:?}");
                known_offsets += 1;
            }
        }
    }
    let ledger = "SELECT concat_ws(' ', sum(applied), sum(late), sum(invalid), sum(future)) FROM ledger";
    assert_eq!(case.text(ledger).await, seen.map(|(_, number)| number.to_string()).join(" "));
    assert!(seen.iter().all(|(_, number)| *number > 0), "{seen:?}");
    assert!(by_floor > 0 && by_observed > 0 && known_offsets > 20, "{by_floor} {by_observed} {known_offsets}");
    explained_rows_equal_retail(&case).await;
    other_delays_equal_the_ledger(&case).await;
    manual_changes_contradict(&case).await;
    deleted_records_are_explained_by_their_dead_letters(&case, &all[0]).await;
}

async fn explained_rows_equal_retail(case: &Case) {
    let rows = "SELECT window_start::text, category, payment_method, events, trim_scale(total_amount)::text, final FROM retail";
    let mut states = [0, 0];
    for row in case.query(rows).await {
        let [window, category, method] = [0, 1, 2].map(|at| row.get::<_, String>(at));
        let (events, amount, is_final): (i64, String, bool) = (row.get(3), row.get(4), row.get(5));
        let instant = window_time(&window).unwrap();
        let explained = explain_row(&case.settings, instant, &[category, method], |_, _| {}).await.unwrap();
        let parts = explained.partitions.clone().unwrap();
        assert_eq!((explained.events, &explained.amount, &explained.contradiction), (events, &amount, &None));
        assert_eq!(parts.iter().map(|part| part.events).sum::<i64>(), events, "{explained:?}");
        for part in &parts {
            let first = explain(case, part.partition, part.first_offset).await;
            assert_eq!((first.fate, first.window.as_ref()), ("applied", Some(&explained.window)), "{explained:?}");
        }
        assert_eq!(explained.state, if is_final { "final" } else { "open" });
        assert_eq!((explained.closed.is_some(), explained.held_by.is_some()), (is_final, !is_final), "{explained:?}");
        states[usize::from(is_final)] += 1;
    }
    assert!(states[0] > 0 && states[1] > 0, "{states:?}");
    let (instant, group) = (window_time("2025-01-01 09:50").unwrap(), ["B", "COD"].map(str::to_owned));
    let late = explain_row(&case.settings, instant, &group, |_, _| {}).await.unwrap().late;
    assert_eq!(
        case.text("SELECT count(*) FROM dead_letter WHERE reason = 'late' AND d1 = 'B' AND date_bin('5m', event_time, 'epoch') = '2025-01-01 09:50Z'").await,
        late.to_string()
    );
    assert!(late > 0);
    let none = [window_time("2025-01-01").unwrap_err().to_string()];
    assert!(none[0].contains("is not the start of a window"), "{none:?}");
    let (instant, group) = (window_time("2025-01-01 10:00").unwrap(), ["Z", "COD"].map(str::to_owned));
    let missing = explain_row(&case.settings, instant, &group, |_, _| {}).await.unwrap();
    assert_eq!((missing.state, missing.events, missing.partitions), ("none", 0, Some(Vec::new())));
}

async fn other_delays_equal_the_ledger(case: &Case) {
    let answered = ask(case, &[0, 1800, 7200, 604_800], None).await;
    let late: i64 = case.text("SELECT sum(late) FROM ledger").await.parse().unwrap();
    assert_eq!((answered.equals_ledger, answered.ledger_late, answered.since.clone()), (Some(true), late, None));
    let today = answered.answers.iter().find(|answer| answer.today).unwrap();
    let amount = case.text("SELECT trim_scale(sum(amount)) FROM dead_letter WHERE reason = 'late'").await;
    assert_eq!((today.late, &today.late_amount, &*today.delay, today.estimate), (late, &amount, "1h", false));
    assert!(answered.answers.iter().is_sorted_by_key(|answer| std::cmp::Reverse(answer.late)), "{answered:?}");
    assert_eq!(answered.answers.last().unwrap().late, 0);
    assert_eq!(answered.answers.iter().filter(|answer| answer.least).count(), 1);
    assert!(answered.answers.iter().filter(|answer| !answer.today).all(|answer| answer.estimate), "a floor was raised");
    let events: i64 = case.text("SELECT sum(applied + late) FROM ledger").await.parse().unwrap();
    assert_eq!(answered.events, events);

    // The last two decisions to close are new, and the others of two hours ago.
    let older = "UPDATE closes SET closed_at = closed_at - interval '2 hours' WHERE closed_until NOT IN
                 (SELECT closed_until FROM closes ORDER BY closed_until DESC LIMIT 2)";
    let client = case.client().await;
    client.batch_execute(older).await.unwrap();
    let from = "SELECT next_offsets[%]::text FROM closes ORDER BY closed_until DESC OFFSET 2 LIMIT 1";
    let [first, second] = [case.text(&from.replace('%', "1")).await, case.text(&from.replace('%', "2")).await];
    let recent = ask(case, &[], Some(Duration::from_secs(3600))).await;
    let letters = format!(
        "SELECT count(*) FROM dead_letter WHERE reason = 'late'
         AND \"offset\" >= CASE partition WHEN 0 THEN {first} ELSE {second} END"
    );
    assert_eq!(
        (recent.answers.iter().find(|answer| answer.today).unwrap().late.to_string(), recent.equals_ledger),
        (case.text(&letters).await, None)
    );
    assert!(recent.events > 0 && recent.events < events && recent.since.is_some(), "{recent:?}");
    client
        .batch_execute(
            "UPDATE closes SET closed_at = closed_at + interval '2 hours' WHERE closed_at < now() - interval '1 hour'",
        )
        .await
        .unwrap();
}

async fn manual_changes_contradict(case: &Case) {
    let client = case.client().await;
    let place = case.query("SELECT partition, \"offset\" FROM dead_letter WHERE reason = 'late' LIMIT 1").await;
    let (partition, offset): (i32, i64) = (place[0].get(0), place[0].get(1));
    let of = format!("WHERE partition = {partition} AND \"offset\" = {offset}");
    for (change, undo, said) in [
        (
            format!("UPDATE dead_letter SET reason = 'future' {of}"),
            format!("UPDATE dead_letter SET reason = 'late' {of}"),
            "table dead_letter has it with the reason future",
        ),
        (
            format!("UPDATE dead_letter SET missed_by = missed_by + interval '1s' {of}"),
            format!("UPDATE dead_letter SET missed_by = missed_by - interval '1s' {of}"),
            "table dead_letter says that it missed by ",
        ),
    ] {
        client.batch_execute(&change).await.unwrap();
        let contradiction = explain(case, partition, offset).await.contradiction.unwrap_or_default();
        assert!(contradiction.starts_with(said), "{contradiction}");
        client.batch_execute(&undo).await.unwrap();
    }
    client
        .batch_execute("UPDATE partition_progress SET late = late + 1, applied = applied - 1 WHERE partition = 0")
        .await
        .unwrap();
    assert_eq!(ask(case, &[], None).await.equals_ledger, Some(false));
    client
        .batch_execute("UPDATE partition_progress SET late = late - 1, applied = applied + 1 WHERE partition = 0")
        .await
        .unwrap();
}

/// Kafka has deleted the first half of partition 0: the later records have the same fates, by the decisions to close.
async fn deleted_records_are_explained_by_their_dead_letters(case: &Case, before: &[RecordExplanation]) {
    let end = case.topic.end(0);
    let cut = end * 3 / 5;
    case.topic.truncate(0, cut).await;
    // The first state of the partition from which Kafka has all records.
    let state = format!("SELECT min(next_offsets[1]) FROM closes WHERE next_offsets[1] >= {cut}");
    let judged_from: i64 = case.text(&state).await.parse().unwrap();
    assert!(judged_from > cut && judged_from < end, "{cut} {judged_from} {end}");
    for (offset, before) in (0..).zip(before) {
        let after = explain(case, 0, offset).await;
        match before.fate {
            "applied" if offset < judged_from => assert_eq!(after.fate, "unknown"),
            fate => assert_eq!(
                (after.fate, &after.reason, &after.window, &after.missed_by),
                (fate, &before.reason, &before.window, &before.missed_by)
            ),
        }
    }
    let answered = ask(case, &[], None).await;
    assert_eq!(answered.equals_ledger, None, "not all records are left");
    assert!(answered.events > 0, "{answered:?}");
}

#[tokio::test]
async fn places_without_a_processed_record_are_named() {
    let case = Case::shared().partitions(3).start().await;
    case.topic.purchases(0, &[("A", "1", 0), ("A", "1", 1), ("A", "1", 2)]);
    case.topic.purchases(2, &[("A", "1", 0)]);
    let unread = explain(&case, 0, 1).await;
    assert_eq!((unread.fate, &*unread.because), ("unprocessed", "No processor has read partition 0 yet."));
    assert_eq!(ask(&case, &[60], None).await.events, 0);

    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0, 1]).await;
    feeder.purchases(0, "1", &[0]);
    feeder.commit(&[]).await.unwrap();
    let next = explain(&case, 0, 1).await;
    assert_eq!((next.fate, next.record.is_some()), ("unprocessed", true));
    assert_eq!(next.because, "The pipeline has processed partition 0 up to offset 1: this is the next offset.");
    let last = explain(&case, 0, 2).await;
    assert!(last.because.ends_with("up to offset 1: one offset comes before this one."), "{last:?}");
    let applied = explain(&case, 0, 0).await;
    assert_eq!(applied.fate, "applied");
    assert!(applied.because.contains("It is the first event of partition 0, so it is not late."), "{applied:?}");
    assert_eq!(applied.event_time.as_deref(), Some("2025-01-01T00:00:00Z"));
    assert_eq!(applied.record.unwrap().timestamp_millis, Some(at(0) * 1000));
    case.client()
        .await
        .batch_execute("UPDATE partition_progress SET start_offset = 1 WHERE partition = 0")
        .await
        .unwrap();
    let skipped = explain(&case, 0, 0).await;
    assert_eq!((skipped.fate, &*skipped.because), ("skipped", "The pipeline began to read partition 0 at offset 1."));

    let error = explain_record(&case.settings, 0, 3, |_, _| {}).await.unwrap_err();
    assert!(matches!(error, VerifyError::BeyondLog { offset: 3, log_end: 3, .. }), "{error}");
    let error = explain_record(&case.settings, 3, 0, |_, _| {}).await.unwrap_err();
    assert!(matches!(error, VerifyError::NoPartition { partition: 3, partitions: 3, .. }), "{error}");
}
