//! `spec.deduplicate`: a record that was sent twice counts once, also across kills, zombies, rebalances and lost answers.

use retail_testbed::{Case, CaseBuilder, Moment, Postgres, Program, Proxy, Sent, at, eventually};
use retail_verify::Options;

use crate::programs::{LIMIT, catch_up, start, until, until_consumed, until_ready};

/// A pipeline that finds duplicates within 64 seconds, in steps of a second.
fn deduplicating() -> CaseBuilder {
    Case::shared().partitions(1).spec("deduplicate: {within: 64s}")
}

/// A purchase with an id.
fn purchase(id: &str, second: i64) -> Vec<u8> {
    let time = at(second);
    format!(
        r#"{{"transaction_id":"{id}","category":"A","payment_method":"COD","quantity":1,"price":1,"timestamp":{time}}}"#
    )
    .into_bytes()
}

/// Appends purchases to a partition: id, and seconds since the beginning of 2025.
fn send(case: &Case, partition: i32, purchases: &[(&str, i64)]) {
    let record = |&(id, second): &(&str, i64)| Sent { partition, timestamp: second, value: Some(purchase(id, second)) };
    case.topic.send(&purchases.iter().map(record).collect::<Vec<_>>());
}

/// The applied records and the duplicates of each partition.
async fn fates(case: &Case) -> Vec<String> {
    let rows = "SELECT concat_ws(' ', applied, duplicate) FROM ledger ORDER BY partition";
    case.query(rows).await.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn record_sent_twice_counts_once_within_the_span() {
    let case = deduplicating().start().await;
    send(&case, 0, &[("a", 0), ("b", 0), ("a", 0), ("c", 30), ("a", 1)]);
    // Without an id, a record cannot be compared.
    let without = Sent { partition: 0, timestamp: 31, value: Some(retail_testbed::purchase("A", "1", 31)) };
    case.topic.send(&[without]);
    catch_up(&case).await;
    assert_eq!(fates(&case).await, ["3 2"]);
    assert_eq!(case.text("SELECT string_agg(reason, ' ') FROM dead_letter").await, "missing_field");
    // Another process: its ids are those of the log. b counts from second 0 on.
    send(&case, 0, &[("b", 31), ("d", 64), ("b", 65), ("e", 128), ("b", 128), ("f", 193), ("b", 193)]);
    catch_up(&case).await;
    assert_eq!(fates(&case).await, ["7 5"], "b, but not after 65 seconds");
    assert_eq!(case.retail().await, ["0 300 A 7 7 7 open"]);
    let report = case.assert_exact().await;
    assert_eq!((report.offsets, report.ids_in_several_partitions), (13, 0));
}

#[tokio::test]
async fn killed_worker_is_replaced_by_one_that_reads_ids_again() {
    let case = deduplicating().start().await;
    let killed = start(&case, &["--workers", "1", "--session-timeout", "6s"]);
    send(&case, 0, &[("a", 0), ("b", 100), ("c", 101)]);
    until_consumed(&case, 3).await;
    killed.kill();
    let next = start(&case, &["--workers", "1"]);
    // The ids from second 100 on.
    next.says("reads the transaction ids of processed records again: partition 0 (0 % of 2 offsets)").await;
    send(&case, 0, &[("b", 101), ("a", 102), ("c", 102)]);
    until_consumed(&case, 6).await;
    next.says("all transaction ids that count are read").await;
    assert_eq!(fates(&case).await, ["4 2"]);
    case.assert_exact().await;
}

/// Its records are judged again: their ids must not be known from the first time.
#[tokio::test]
async fn fenced_batch_is_not_its_own_duplicate() {
    let case = deduplicating().start().await;
    let processor = start(&case, &["--workers", "1"]);
    send(&case, 0, &[("a", 400)]);
    until_consumed(&case, 1).await;
    // As a close of another worker does: the next batch is judged by the old floor. It moves no time, so that the worker keeps its ids.
    let raise = "WITH raised AS (UPDATE partition_progress SET lateness_floor = '2025-01-01 00:05Z' RETURNING *) \
                 INSERT INTO fate_rules SELECT partition, next_offset, lateness_floor, max_future, keeps_late FROM raised";
    case.client().await.batch_execute(raise).await.unwrap();
    send(&case, 0, &[("b", 400), ("a", 400), ("b", 400)]);
    processor.says("a commit was fenced").await;
    until_consumed(&case, 4).await;
    assert_eq!(fates(&case).await, ["2 2"]);
    // Not verified: no decision to close has raised the floor.
    assert_eq!(case.retail().await, ["300 600 A 2 2 2 open"]);
}

/// A processor with a connection to Postgres that a proxy can cut, after the records a and b.
async fn proxied() -> (Case, Proxy, Program) {
    let case = deduplicating().start().await;
    let proxy = Proxy::to(&Postgres::shared().address());
    let through = case.with_database(&proxy.url(&Postgres::shared().url()));
    let processor = start(&through, &["--workers", "1", "--session-timeout", "6s"]);
    send(&case, 0, &[("a", 0), ("b", 0)]);
    until_consumed(&case, 2).await;
    (case, proxy, processor)
}

#[tokio::test]
async fn commit_with_lost_reply_keeps_its_ids() {
    for moment in [Moment::BeforeTheCommit, Moment::HalfOfTheCommit, Moment::AfterTheCommit] {
        let (case, proxy, processor) = proxied().await;
        proxy.stop_at(moment);
        send(&case, 0, &[("c", 1), ("a", 1)]);
        proxy.holds_a_commit().await;
        proxy.cut();
        until_consumed(&case, 4).await;
        send(&case, 0, &[("c", 2), ("d", 2), ("b", 2)]);
        until_consumed(&case, 7).await;
        assert_eq!(fates(&case).await, ["4 3"], "{moment:?}");
        assert!(!processor.output().contains("fenced"), "{}", processor.output());
        case.assert_exact().await;
    }
}

#[tokio::test]
async fn zombie_takes_its_ids_back() {
    let (case, proxy, zombie) = proxied().await;
    proxy.stop_at(Moment::BeforeTheCommit);
    send(&case, 0, &[("c", 1), ("a", 1)]);
    proxy.holds_a_commit().await;
    zombie.signal("STOP");
    let next_owner = start(&case, &["--workers", "1", "--session-timeout", "6s"]);
    until_consumed(&case, 4).await;
    assert_eq!(fates(&case).await, ["3 1"]);
    proxy.release();
    zombie.signal("CONT");
    zombie.says("fenced").await;
    send(&case, 0, &[("d", 2), ("c", 2)]);
    until_consumed(&case, 6).await;
    next_owner.kill();
    let owned = format!("SELECT bool_and(owner LIKE '%/{}/%') FROM partition_progress", zombie.pid());
    until(&case, "the partition is the zombie's again", &owned).await;
    send(&case, 0, &[("e", 3), ("d", 3), ("a", 3)]);
    until_consumed(&case, 9).await;
    assert_eq!(fates(&case).await, ["5 4"]);
    case.assert_exact().await;
}

#[tokio::test]
async fn moved_partitions_keep_their_ids() {
    let case = deduplicating().partitions(2).start().await;
    let first = start(&case, &["--workers", "1", "--session-timeout", "6s"]);
    // An id counts in each partition.
    (0..2).for_each(|partition| send(&case, partition, &[("a", 0), ("b", 0)]));
    until_consumed(&case, 4).await;
    let _second = start(&case, &["--workers", "1", "--session-timeout", "6s"]);
    until(&case, "each has a partition", "SELECT count(DISTINCT owner) = 2 FROM partition_progress").await;
    (0..2).for_each(|partition| send(&case, partition, &[("a", 1), ("c", 1)]));
    until_consumed(&case, 8).await;
    first.kill();
    (0..2).for_each(|partition| send(&case, partition, &[("b", 2), ("c", 2), ("d", 2)]));
    until_consumed(&case, 14).await;
    assert_eq!(fates(&case).await, ["4 3", "4 3"]);
    let report = case.assert_exact().await;
    assert_eq!(report.ids_in_several_partitions, 4);
}

#[tokio::test]
async fn ids_of_deleted_records_count_no_more_and_verify_agrees() {
    let case = deduplicating().start().await;
    send(&case, 0, &[("old", 0), ("a", 200), ("b", 200), ("c", 201)]);
    catch_up(&case).await;
    let proof = case.verify_with(Options { record: true, ..Options::default() }).await;
    assert!(proof.equal, "{proof:?}");
    case.topic.truncate(0, 2).await;
    send(&case, 0, &[("a", 202), ("b", 202), ("d", 202), ("a", 203)]);
    let mut processor = start(&case, &["--until-caught-up"]);
    assert_eq!(processor.exit_code(LIMIT).await, 0, "{}", processor.output());
    let warning = "Kafka has deleted records from offset 1 to 2";
    assert!(processor.output().contains(warning), "{}", processor.output());
    assert_eq!(fates(&case).await, ["6 2"], "a counts once more, b does not");
    let rules = "SELECT string_agg(concat_ws(' ', \"offset\", dedup_from), ', ' ORDER BY \"offset\") FROM fate_rules";
    assert_eq!(case.text(rules).await, "0 0, 4 2");
    let report = case.assert_exact().await;
    assert_eq!((report.from_proof, report.offsets), (Some(1), 4));
    // The next process reads the same ids, from the same offset on.
    send(&case, 0, &[("b", 204), ("a", 204), ("d", 204)]);
    catch_up(&case).await;
    assert_eq!(fates(&case).await, ["6 5"]);
    assert_eq!(case.text(rules).await, "0 0, 4 2");
    case.assert_exact().await;
}

#[tokio::test]
async fn changed_milestones_are_a_difference() {
    let case = deduplicating().start().await;
    send(&case, 0, &[("a", 0), ("b", 10), ("c", 20)]);
    catch_up(&case).await;
    case.assert_exact().await;
    let client = case.client().await;
    client.batch_execute("UPDATE partition_progress SET dedup_offsets[2] = 0").await.unwrap();
    let report = case.verify().await;
    let step = at(10);
    let expected = format!(
        "ledger, partition 0: element 2 of dedup_offsets and dedup_steps is offset 0, step {step}, expected offset 1, step {step}"
    );
    assert_eq!(report.difference, Some(expected));
    let lost =
        "UPDATE partition_progress SET dedup_offsets[2] = 1, dedup_from = 1; UPDATE fate_rules SET dedup_from = 1";
    client.batch_execute(lost).await.unwrap();
    let expected = "partition_progress, partition 0: dedup_from is 1, but Kafka has records from 0 on";
    assert_eq!(case.verify().await.difference.as_deref(), Some(expected));
}

#[tokio::test]
async fn orders_are_found_by_their_own_id_and_condition() {
    let case = deduplicating()
        .spec("events:")
        .spec("  timestamp: {unit: RecordTime}")
        .spec("  transactionId: {field: order.id}")
        .spec("  dimensions: [{name: sku, field: sku}]")
        .spec("  quantity: {field: pieces}")
        .spec("  amount: {field: total}")
        .spec("  where: \"state == 'paid'\"")
        .spec("  explode: items")
        .start()
        .await;
    let order = |second, id: &str, state: &str, items: &str| Sent {
        partition: 0,
        timestamp: second,
        value: Some(format!(r#"{{"state":"{state}","order":{{"id":{id}}},"items":[{items}]}}"#).into_bytes()),
    };
    let items = r#"{"sku":"a","pieces":3,"total":10},{"sku":"b","pieces":1,"total":1}"#;
    // An order that was filtered or invalid counts later.
    case.topic.send(&[
        order(0, "7", "created", items),
        order(1, "7", "paid", r#"{"sku":"a"}"#),
        order(2, "7", "paid", items),
        order(3, "7", "paid", items),
        order(4, "\"7\"", "paid", items),
        order(5, "[7]", "paid", items),
        order(6, "8", "paid", items),
    ]);
    catch_up(&case).await;
    let ledger = "SELECT concat_ws(' ', applied, duplicate, filtered, invalid, balanced) FROM ledger";
    assert_eq!(case.text(ledger).await, "2 2 1 2 t");
    let rows = "SELECT string_agg(concat_ws(' ', sku, total_quantity, trim_scale(total_amount)), ', ' ORDER BY sku) FROM retail";
    assert_eq!(case.text(rows).await, "a 6 20, b 2 2");
    case.assert_exact().await;
}

#[tokio::test]
async fn too_many_ids_are_an_error_and_not_a_kill() {
    let case = deduplicating().start().await;
    let ids: Vec<String> = (0..5000).map(|id| id.to_string()).collect();
    send(&case, 0, &ids.iter().map(|id| (id.as_str(), 0)).collect::<Vec<_>>());
    let processor = start(&case, &["--workers", "1", "--http", "127.0.0.1:0", "--id-memory", "64Ki"]);
    until_ready(&processor, 503, "the transaction ids of deduplication need more than 64 KiB of memory").await;
    let _enough = start(&case, &["--workers", "1", "--id-memory", "1Mi"]);
    until_consumed(&case, 5000).await;
}

/// The case with its topic as it exists, and another declaration.
fn declared_otherwise(case: &Case, from: &str, to: &str) {
    let yaml = std::fs::read_to_string(&case.file).unwrap();
    let other = yaml.replace(from, to);
    assert_ne!(yaml, other);
    std::fs::write(&case.file, other).unwrap();
}

#[tokio::test]
async fn compacted_topic_is_refused() {
    let mut case = Case::shared().partitions(1).topic_config("cleanup.policy: compact").build();
    case.apply_topic().await;
    declared_otherwise(&case, "cleanup.policy: compact, ", "");
    declared_otherwise(&case, "spec:\n", "spec:\n  deduplicate: {within: 1h}\n");
    case.settings.pipeline = retail_api::Pipeline::read(&case.file).unwrap();
    case.apply_schema().await;
    let mut processor = start(&case, &["--until-caught-up"]);
    assert_eq!(processor.exit_code(LIMIT).await, 1);
    let refusal = "is compacted (cleanup.policy), and spec.deduplicate needs all its records";
    assert!(processor.output().contains(refusal), "{}", processor.output());
}

#[tokio::test]
async fn short_retention_is_a_warning() {
    let mut case = Case::shared().partitions(1).topic_config("retention.ms: \"3600000\"").build();
    case.apply_topic().await;
    declared_otherwise(&case, "retention.ms: \"3600000\", ", "");
    declared_otherwise(&case, "spec:\n", "spec:\n  deduplicate: {within: 2h}\n");
    case.settings.pipeline = retail_api::Pipeline::read(&case.file).unwrap();
    case.apply_schema().await;
    let processor = start(&case, &["--until-caught-up"]);
    let warning = "Kafka deletes records after 1h (retention.ms), and deduplicate.within is 2h";
    eventually("the retention is reported", async || processor.output().contains(warning).then_some(())).await;
}
