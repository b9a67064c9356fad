//! Brokers that lose records and give their offsets to others.

use retail_testbed::{Case, Kafka, KafkaCluster, Postgres, Program, Sent, eventually, purchase};

use crate::programs::{LIMIT, catch_up, http, produce, start, until, until_consumed, until_ready};

const PROBES: [&str; 4] = ["--http", "127.0.0.1:0", "--workers", "1"];

/// Appends purchases of a category with record times from `first` on.
fn send(case: &Case, category: &str, first: i64, count: i64) {
    let record = |n: i64| Sent { partition: 0, timestamp: n, value: Some(purchase(category, "1", 0)) };
    case.topic.send(&(first..first + count).map(record).collect::<Vec<_>>());
}

/// A broker whose log contains 60 records, and a copy of its disk.
async fn backed_up(spec: &[&str]) -> (Kafka, Case) {
    let kafka = Kafka::private();
    let builder = Case::on(&kafka.address(), &Postgres::shared().url()).partitions(1);
    let case = spec.iter().fold(builder, |builder, line| builder.spec(line)).start().await;
    send(&case, "A", 0, 60);
    kafka.stop();
    kafka.back_up();
    kafka.start();
    (kafka, case)
}

/// The broker comes back with the copy of its disk, and producers go on.
fn restore(kafka: &Kafka, case: &Case, records: i64) {
    kafka.kill();
    kafka.restore();
    kafka.start();
    send(case, "B", 1000, records);
}

async fn state(case: &Case) -> (Vec<String>, Vec<String>, String) {
    let progress = "SELECT (next_offset, last_record_offset, last_record_digest) FROM partition_progress";
    (case.retail().await, case.ledger().await, case.text(progress).await)
}

/// The processor commits nothing more and names the difference. One that runs until it has caught up fails.
async fn stops(case: &Case, running: Option<&Program>, words: &str, before: &(Vec<String>, Vec<String>, String)) {
    if let Some(running) = running {
        until_ready(running, 503, words).await;
        assert!(http(running, "/readyz").await.1.contains("the brokers have lost records. Nothing was changed"));
    }
    let mut processor = start(case, &["--until-caught-up"]);
    assert_eq!(processor.exit_code(LIMIT).await, 1);
    assert!(processor.output().contains(words), "{words:?} is not in {}", processor.output());
    assert_eq!(state(case).await, *before);
}

#[tokio::test]
async fn disk_restored_while_stopped_changes_nothing() {
    let (kafka, case) = backed_up(&[]).await;
    send(&case, "A", 60, 40);
    catch_up(&case).await;
    let before = state(&case).await;
    restore(&kafka, &case, 70);
    let words = "contains another record at offset 99 than the processed one (record timestamp";
    stops(&case, None, words, &before).await;
    let error = case.try_verify().await.unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

/// The processor is suspended until the log has regrown, so that it sees neither a shorter log nor a new leader.
#[tokio::test]
async fn disk_restored_while_running_changes_nothing() {
    let (kafka, case) = backed_up(&[]).await;
    let processor = start(&case, &PROBES);
    send(&case, "A", 60, 40);
    until_consumed(&case, 100).await;
    let before = state(&case).await;
    processor.signal("STOP");
    restore(&kafka, &case, 70);
    processor.signal("CONT");
    let words = "contains another record at offset 99 than the processed one (record timestamp";
    stops(&case, Some(&processor), words, &before).await;
}

#[tokio::test]
async fn log_that_ends_early_while_running_is_reported() {
    let (kafka, case) = backed_up(&[]).await;
    let processor = start(&case, &PROBES);
    send(&case, "A", 60, 40);
    until_consumed(&case, 100).await;
    let before = state(&case).await;
    restore(&kafka, &case, 20);
    stops(&case, Some(&processor), "ends at offset 80, but was processed up to 100", &before).await;
}

/// The log loses only records that are not committed yet. Those of the next log at their offsets are read, each once.
#[tokio::test]
async fn disk_restored_behind_uncommitted_records_is_read_again() {
    let (kafka, case) = backed_up(&["trigger: 1h", "watermark: {idleTimeout: 1s}"]).await;
    let processor = start(&case, &PROBES);
    // The first batch of all is committed early.
    until_consumed(&case, 60).await;
    let garbage = |n| Sent { partition: 0, timestamp: n, value: Some(b"garbage".to_vec()) };
    case.topic.send(&(60..100).map(garbage).collect::<Vec<_>>());
    // A partition is confirmed as idle up to a log end that the worker has read, also with uncommitted garbage.
    let sent = case.text("SELECT clock_timestamp()").await;
    let read = format!("SELECT bool_and(idle_until > '{sent}'::timestamptz + interval '1 s') FROM partition_progress");
    until(&case, "the garbage is read", &read).await;
    assert_eq!(case.ledger().await, ["60 = 60 applied + 0 late + 0 invalid + 0 future + 0 gaps"]);
    processor.signal("STOP");
    restore(&kafka, &case, 70);
    processor.signal("CONT");
    until_consumed(&case, 130).await;
    assert_eq!(case.ledger().await, ["130 = 130 applied + 0 late + 0 invalid + 0 future + 0 gaps"]);
    case.assert_exact().await;
}

#[tokio::test]
async fn unclean_election_changes_nothing() {
    let cluster = KafkaCluster::start();
    let case = Case::on(&cluster.addresses(), &Postgres::shared().url()).partitions(1).build();
    cluster.create_topic(&case.topic).await;
    case.apply_topic().await;
    case.apply_schema().await;
    let processor = start(&case, &PROBES);
    send(&case, "A", 0, 60);
    until_consumed(&case, 60).await;
    // The second replica misses 40 records, and leads when the first one is lost.
    cluster.brokers[1].kill();
    send(&case, "A", 60, 40);
    until_consumed(&case, 100).await;
    let before = state(&case).await;
    cluster.brokers[0].kill();
    cluster.brokers[1].start();
    send(&case, "B", 1000, 70);
    assert_eq!(case.topic.end(0), 130);
    let words = "contains another record at offset 99 than the processed one (record timestamp";
    stops(&case, Some(&processor), words, &before).await;
}

/// The number of checks with this result, from the metrics.
async fn checked(processor: &Program, result: &str) -> Option<()> {
    let line = format!("retail_record_checks_total{{result=\"{result}\"}} ");
    http(processor, "/metrics").await.1.lines().any(|other| other.starts_with(&line)).then_some(())
}

#[tokio::test]
async fn deleted_last_record_is_no_fault() {
    let case = Case::shared().partitions(1).start().await;
    send(&case, "A", 0, 10);
    catch_up(&case).await;
    case.topic.truncate(0, 10).await;
    let processor = start(&case, &PROBES);
    send(&case, "A", 10, 5);
    until_consumed(&case, 15).await;
    eventually("the deleted record is counted", async || checked(&processor, "deleted").await).await;
}

#[tokio::test]
async fn compacted_last_record_is_no_fault() {
    let kafka = Kafka::private_with("log.cleaner.backoff.ms=100\n");
    let config = "cleanup.policy: compact, segment.ms: \"100\", min.cleanable.dirty.ratio: \"0.001\", max.compaction.lag.ms: \"100\"";
    let case = Case::on(&kafka.address(), &Postgres::shared().url()).partitions(1).topic_config(config).start().await;
    case.topic.keyed(0, "the same", &purchase("A", "1", 0));
    catch_up(&case).await;
    case.topic.keyed(0, "the same", &purchase("A", "1", 1));
    eventually("the last processed record is compacted away", async || {
        // A segment is compacted once a newer one exists.
        case.topic.keyed(0, "another", &purchase("A", "1", 2));
        let records = &case.topic.read(1)[0];
        (records.iter().filter(|(key, _)| key == b"the same").count() == 1).then_some(())
    })
    .await;
    let processor = start(&case, &PROBES);
    until(
        &case,
        "the log is consumed",
        &format!("SELECT bool_and(next_offset >= {}) FROM partition_progress", case.topic.end(0)),
    )
    .await;
    eventually("the missing record is counted", async || checked(&processor, "compacted").await).await;
}

#[tokio::test]
async fn markers_after_the_last_record_are_no_fault() {
    let case = Case::shared().partitions(1).start().await;
    let record = |n| Sent { partition: 0, timestamp: n, value: Some(purchase("A", "1", n)) };
    for round in 0..2 {
        case.topic.transactions(&[(true, vec![record(round)]), (false, vec![record(round)])]);
        catch_up(&case).await;
        // The last record, a marker, an aborted record and its marker.
        let last = "SELECT next_offset - last_record_offset FROM partition_progress";
        assert_eq!(case.text(last).await, "4");
    }
    let processor = start(&case, &PROBES);
    send(&case, "A", 10, 1);
    until_consumed(&case, 9).await;
    eventually("the same record is found", async || checked(&processor, "same").await).await;
    case.assert_exact().await;
}

#[tokio::test]
async fn last_record_of_many_is_stored_and_found() {
    let case = Case::shared().start().await;
    produce(&case, 20_000, 1).await;
    catch_up(&case).await;
    let last =
        "SELECT bool_and(last_record_offset = next_offset - 1 AND last_record_epoch >= 0) FROM partition_progress";
    assert_eq!(case.text(last).await, "true");
    produce(&case, 10, 2).await;
    catch_up(&case).await;
    assert_eq!(case.text(last).await, "true");
    case.assert_exact().await;
}
