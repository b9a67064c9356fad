//! Topics that are missing, replaced, truncated or unusual.

use std::time::Duration;

use retail_testbed::{Case, Kafka, Postgres, Sent, eventually, purchase};

use crate::programs::{LIMIT, PROCESSOR, catch_up, start, until, until_consumed};

fn record(seconds: i64) -> Sent {
    Sent { partition: 0, timestamp: seconds, value: Some(purchase("A", "1", seconds)) }
}

/// With `--until-caught-up`, the processor fails, and its output has all of `words`.
async fn refuses(case: &Case, words: &[&str]) {
    let mut processor = start(case, &["--until-caught-up"]);
    assert_eq!(processor.exit_code(LIMIT).await, 1);
    for word in words {
        assert!(processor.output().contains(word), "{word:?} is not in {}", processor.output());
    }
}

#[tokio::test]
async fn missing_topic_or_schema_is_reported_and_waited_for() {
    let case = Case::shared().build();
    let waits = start(&case, &[]);
    waits.says("is not set up").await;
    waits.says("retail apply-schema").await;
    case.apply_schema().await;
    waits.says("does not exist: create it with `retail apply-topic`").await;
    refuses(&case, &["does not exist: create it with `retail apply-topic`"]).await;
    case.apply_topic().await;
    case.topic.purchases(0, &[("A", "1", 0)]);
    until_consumed(&case, 1).await;
}

#[tokio::test]
async fn topic_recreated_while_stopped_is_refused() {
    let case = Case::shared().partitions(1).start().await;
    case.topic.purchases(0, &[("A", "1", 0), ("A", "1", 1)]);
    catch_up(&case).await;
    let before = (case.retail().await, case.ledger().await);
    case.topic.delete().await;
    eventually("the topic can be made again", async || {
        retail_kafka::topic::ensure(&case.settings.kafka, &case.settings.pipeline.topic).await.ok()
    })
    .await;
    case.topic.purchases(0, &[("B", "1", 0), ("B", "1", 1), ("B", "1", 2)]);
    refuses(&case, &["was deleted and recreated", "Nothing was changed", "give the pipeline another schema"]).await;
    assert_eq!((case.retail().await, case.ledger().await), before);
}

#[tokio::test]
async fn topic_recreated_while_running_commits_nothing() {
    let case = Case::shared().partitions(1).start().await;
    let processor = start(&case, &[]);
    case.topic.purchases(0, &[("A", "1", 0), ("A", "1", 1)]);
    until_consumed(&case, 2).await;
    let before = (case.retail().await, case.ledger().await);
    case.topic.delete().await;
    eventually("the topic can be made again", async || {
        retail_kafka::topic::ensure(&case.settings.kafka, &case.settings.pipeline.topic).await.ok()
    })
    .await;
    // More records than the old topic had: offsets alone would not show the difference.
    case.topic.purchases(0, &[("B", "1", 0), ("B", "1", 1), ("B", "1", 2), ("B", "1", 3)]);
    processor.says("was deleted and recreated").await;
    assert_eq!((case.retail().await, case.ledger().await), before);
}

#[tokio::test]
async fn truncated_log_stops_with_number_of_lost_records() {
    let case = Case::shared().partitions(1).start().await;
    case.topic.purchases(0, &[("A", "1", 0)]);
    catch_up(&case).await;
    case.topic.purchases(0, &[("A", "1", 1), ("A", "1", 2), ("A", "1", 3)]);
    case.topic.truncate(0, 3).await;
    let before = (case.retail().await, case.ledger().await);
    refuses(&case, &["2 records of topic", "continues at offset 1, but its log starts at 3", "Nothing was changed"])
        .await;
    assert_eq!((case.retail().await, case.ledger().await), before);
}

#[tokio::test]
async fn session_timeout_of_ten_minutes_is_accepted() {
    let case = Case::shared().partitions(1).start().await;
    case.topic.purchases(0, &[("A", "1", 0)]);
    let mut processor = start(&case, &["--until-caught-up", "--session-timeout", "10m"]);
    assert_eq!(processor.exit_code(LIMIT).await, 0, "{}", processor.output());
    assert_eq!(case.retail().await, ["0 300 A 1 1 1 open"]);
}

/// The log ends are requested after the positions: other workers commit new records between the two requests.
#[tokio::test]
async fn commit_of_another_worker_during_a_start_is_no_loss() {
    let case = Case::shared().partitions(1).start().await;
    let other = case.client().await;
    other.batch_execute("BEGIN; SELECT FROM pipeline FOR UPDATE").await.unwrap();
    let mut processor = start(&case, &["--until-caught-up"]);
    let waiting = format!(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{}%'",
        case.settings.pipeline.schema
    );
    until(&case, "the start has read the log and waits for Postgres", &waiting).await;
    case.topic.purchases(0, &[("A", "1", 0)]);
    let commit = "SELECT begin_partitions(id || ' ' || uid, '{0}', '{0}', '1h', true) FROM pipeline; \
                  UPDATE partition_progress SET next_offset = 1, applied = 1; COMMIT";
    other.batch_execute(commit).await.unwrap();
    assert_eq!(processor.exit_code(LIMIT).await, 0, "{}", processor.output());
}

#[tokio::test]
async fn first_start_reads_from_log_start() {
    let case = Case::shared().partitions(1).start().await;
    case.topic.purchases(0, &[("A", "1", 1), ("A", "1", 2), ("A", "1", 3)]);
    case.topic.truncate(0, 2).await;
    catch_up(&case).await;
    assert_eq!(case.text("SELECT concat(start_offset, ' ', next_offset) FROM partition_progress").await, "2 3");
    case.assert_exact().await;
}

#[tokio::test]
async fn aborted_records_and_markers_are_counted_as_gaps() {
    let case = Case::shared().partitions(1).start().await;
    let _processor = start(&case, &[]);
    case.topic.transactions(&[
        (true, vec![record(1), record(2)]),
        (false, vec![record(3)]),
        (true, vec![record(4)]),
        (false, vec![record(5), record(6)]),
    ]);
    until_consumed(&case, 10).await;
    assert_eq!(case.ledger().await, ["10 = 3 applied + 0 late + 0 invalid + 0 future + 7 gaps"]);
    case.assert_exact().await;
}

#[tokio::test]
async fn open_transaction_is_read_when_it_commits() {
    let case = Case::shared().partitions(1).start().await;
    let commit = case.topic.open_transaction(&[record(1), record(2)]);
    case.topic.send(&[record(3)]);
    let _processor = start(&case, &[]);
    until(&case, "the partition is claimed", "SELECT count(owner) = 1 FROM partition_progress").await;
    catch_up(&case).await;
    assert_eq!(case.ledger().await, ["0 = 0 applied + 0 late + 0 invalid + 0 future + 0 gaps"]);
    tokio::task::spawn_blocking(commit).await.unwrap();
    until_consumed(&case, 4).await;
    assert_eq!(case.ledger().await, ["4 = 3 applied + 0 late + 0 invalid + 0 future + 1 gaps"]);
    case.assert_exact().await;
}

#[tokio::test]
async fn compacted_offsets_are_counted_as_gaps() {
    let kafka = Kafka::private_with("log.cleaner.backoff.ms=100\n");
    let config = "cleanup.policy: compact, segment.ms: \"100\", min.cleanable.dirty.ratio: \"0.001\", max.compaction.lag.ms: \"100\"";
    let case = Case::on(&kafka.address(), &Postgres::shared().url()).partitions(1).topic_config(config).start().await;
    for seconds in 0..50 {
        case.topic.keyed(0, "the same", &purchase("A", "1", seconds));
    }
    // A segment is compacted once a newer one exists.
    eventually("the log is compacted", async || {
        case.topic.keyed(0, "another", &purchase("A", "1", 50));
        (case.topic.read(1)[0].len() < 20).then_some(())
    })
    .await;
    catch_up(&case).await;
    case.assert_exact().await;
    assert_eq!(case.text("SELECT gaps > 20 AND applied > 0 AND balanced FROM ledger").await, "true");
}

#[tokio::test]
async fn arbitrary_bytes_have_a_fate_and_never_crash() {
    let case = Case::shared().partitions(1).start().await;
    let mut records: Vec<Sent> = (0..256)
        .flat_map(|byte: i64| {
            let twisted = |at: usize| {
                let mut value = purchase("Skincare", "1.5", 0);
                let at = at % value.len();
                value[at] = byte as u8;
                Sent { partition: 0, timestamp: 0, value: Some(value) }
            };
            [twisted(byte as usize), twisted(byte as usize * 7 + 3)]
        })
        .collect();
    records.push(Sent { partition: 0, timestamp: 0, value: None });
    records.push(Sent { partition: 0, timestamp: 0, value: Some(Vec::new()) });
    records.push(Sent { partition: 0, timestamp: 0, value: Some(vec![b'['; 900_000]) });
    let count = records.len();
    case.topic.send(&records);
    catch_up(&case).await;
    case.assert_exact().await;
    assert_eq!(case.text("SELECT consumed FROM ledger WHERE balanced").await, count.to_string());
    assert_eq!(case.text("SELECT max(length(payload)) FROM dead_letter").await, "65536");
}

#[tokio::test]
async fn invalid_records_do_not_stop_other_rows() {
    let case = Case::shared().start().await;
    let processor = start(&case, &["--workers", "1"]);
    let (topic, stop) = (case.topic.clone(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let stopped = std::sync::Arc::clone(&stop);
    let poison = std::thread::spawn(move || {
        let garbage: Vec<Sent> =
            (0..20_000).map(|n| Sent { partition: 0, timestamp: n, value: Some(vec![b'x'; 1000]) }).collect();
        let mut sent = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            topic.send(&garbage);
            sent += garbage.len();
        }
        sent
    });
    for row in 1..=5 {
        case.topic.purchases(1, &[("A", "1", row)]);
        let sql = format!("SELECT total_quantity = {row} FROM retail WHERE category = 'A'");
        until(&case, "the row is there", &sql).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let sent = poison.join().unwrap();
    let memory = processor.peak_memory_mib();
    until_consumed(&case, sent as i64 + 5).await;
    assert_eq!(case.text("SELECT count(*) FROM dead_letter").await, sent.to_string());
    // Two batches of 16 MiB, the fetched records and the program: far below the sent bytes.
    assert!(memory < 250, "{memory} MiB after {sent} records of garbage");
}

#[tokio::test]
async fn pipelines_on_one_topic_have_separate_groups() {
    let case = Case::shared().partitions(1).start().await;
    let other = case.with_schema(&format!("{}_other", case.settings.pipeline.schema));
    other.apply_schema().await;
    case.topic.purchases(0, &[("A", "1", 0)]);
    let _both = [start(&case, &[]), start(&other, &[])];
    until_consumed(&case, 1).await;
    until_consumed(&other, 1).await;
    assert_eq!(case.retail().await, other.retail().await);
}

#[tokio::test]
async fn invalid_flags_and_files_exit_2() {
    let case = Case::shared().build();
    for arguments in [
        &["--workers", "0"][..],
        &["--http", "here"],
        &["--session-timeout", "soon"],
        &["--session-timeout", "61m"],
        &["--fly"],
    ] {
        assert_eq!(start(&case, arguments).exit_code(Duration::from_secs(60)).await, 2, "{arguments:?}");
    }
    std::fs::write(&case.file, "kind: RetailPipeline\n").unwrap();
    let mut processor = start(&case, &[]);
    assert_eq!(processor.exit_code(Duration::from_secs(60)).await, 2);
    assert!(processor.output().contains("spec"), "{}", processor.output());
    let missing = std::process::Command::new(PROCESSOR).args(["-f", "missing.yaml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("cannot read missing.yaml"));
}
