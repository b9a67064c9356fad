//! The documented behaviour of the program.

use std::process::Output;
use std::time::Duration;

use retail_engine::{Decoder, Engine, Fate, Record, SchemaId, Span, Start, Timestamp};
use retail_testbed::{Case, Kafka, Postgres, Program, Registry};

const PRODUCER: &str = env!("CARGO_BIN_EXE_retail-producer");

fn run(case: &Case, arguments: &[&str]) -> Output {
    case.command(PRODUCER).args(arguments).output().unwrap()
}

fn summary(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// Keys and values of all records of a topic, by partition.
fn contents(case: &Case) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    case.topic.read(2)
}

#[tokio::test]
async fn same_seed_sends_the_same_acknowledged_events() {
    let (one, other) = (Case::shared().build(), Case::shared().build());
    for case in [&one, &other] {
        case.apply_topic().await;
        let faults = ["--malformed", "3", "--too-late", "3", "--future", "3", "--duplicated", "3"];
        let output = run(case, &[&["--events", "20000", "--rate", "max", "--seed", "5"], &faults[..]].concat());
        assert!(output.status.success(), "{output:?}");
        let summary = summary(&output);
        assert_eq!(
            (&summary["events"], &summary["acknowledged"], &summary["failed"]),
            (&20_000.into(), &20_000.into(), &0.into())
        );
    }
    let contents = contents(&one);
    assert_eq!(contents.iter().map(Vec::len).sum::<usize>(), 20_000);
    assert_eq!(contents, self::contents(&other));
}

#[tokio::test]
async fn customer_stays_in_one_partition() {
    let case = Case::shared().build();
    case.apply_topic().await;
    assert!(run(&case, &["--events", "5000", "--rate", "max"]).status.success());
    let keys = contents(&case).into_iter().map(|records| records.into_iter().map(|record| record.0).collect());
    let keys: Vec<std::collections::BTreeSet<Vec<u8>>> = keys.collect();
    assert!(keys.iter().all(|keys| keys.len() > 100));
    assert!(keys[0].is_disjoint(&keys[1]));
}

/// A run with a number of purchases does not wait for ever.
#[tokio::test]
async fn bounded_run_fails_when_kafka_falls_silent() {
    let kafka = Kafka::private();
    let case = Case::on(&kafka.address(), &Postgres::shared().url()).partitions(1).build();
    case.apply_topic().await;
    let mut producer = Program::start(PRODUCER, &case, &["--events", "1000000", "--rate", "1000"]);
    retail_testbed::eventually("something is sent", async || (case.topic.end(0) > 0).then_some(())).await;
    kafka.pause();
    assert_eq!(producer.exit_code(Duration::from_secs(180)).await, 1);
    kafka.resume();
    let output = producer.output();
    assert!(output.contains("Kafka did not store a purchase"), "{output}");
}

#[tokio::test]
async fn signal_ends_producer_with_all_acknowledged() {
    let case = Case::shared().build();
    case.apply_topic().await;
    let mut producer = Program::start(PRODUCER, &case, &["--rate", "1000"]);
    retail_testbed::eventually("something is sent", async || (case.topic.end(0) > 0).then_some(())).await;
    producer.signal("TERM");
    assert_eq!(producer.exit_code(Duration::from_secs(60)).await, 0);
    let output = producer.output();
    let summary: serde_json::Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!(summary["acknowledged"], summary["events"]);
    assert_eq!(summary["events"], case.topic.read(2).concat().len());
}

/// Arrival times of the purchases of a run are at least as late as their event times, which are up to an hour before them.
#[tokio::test]
async fn accelerated_producer_continues_after_the_newest_event() {
    const PRODUCER_SPEC: &str = "producer: {eventsPerSecond: 1000, speed: 600, faults: {future: 5, malformed: 5}}";
    let case = Case::shared().timestamp_type(None).spec(PRODUCER_SPEC).build();
    case.apply_topic().await;
    let mut lengths = vec![0; 2];
    let mut newest = None;
    for _ in 0..3 {
        let before: i64 = lengths.iter().sum();
        let mut producer = Program::start(PRODUCER, &case, &[]);
        retail_testbed::eventually("3,000 purchases are sent", async || {
            ((0..2).map(|partition| case.topic.end(partition)).sum::<i64>() >= before + 3000).then_some(())
        })
        .await;
        producer.signal("TERM");
        assert_eq!(producer.exit_code(Duration::from_secs(60)).await, 0, "{}", producer.output());
        let contents = contents(&case);
        let new = contents.iter().zip(&lengths).flat_map(|(records, length)| &records[*length as usize..]);
        let now = retail_producer::run::clock();
        let times: Vec<Timestamp> = new
            .filter_map(|(_, value)| Decoder::default().decode(Some(value)).ok().map(|event| event.timestamp))
            .filter(|time| *time <= now)
            .collect();
        let (oldest, latest) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
        if let Some(newest) = newest {
            assert!(oldest >= Timestamp::minus(newest, Span::from_secs(3600)), "{oldest} is late after {newest}");
        }
        // Faster than the clock, and behind it.
        assert!(latest.since(oldest) > Span::from_secs(1800) && latest < now, "{oldest} to {latest}");
        newest = Some(latest);
        lengths = contents.iter().map(|records| records.len() as i64).collect();
    }
}

#[tokio::test]
async fn missing_topic_or_broker_is_explained_and_exits_1() {
    let case = Case::shared().build();
    let output = run(&case, &["--events", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("does not exist: create it with `retail apply-topic`"), "{said}");

    let output = run(&case, &["--events", "1", "--bootstrap-servers", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("127.0.0.1:1") && said.contains("Connection refused"), "{said}");
}

/// A mapping with nested fields, a condition and items.
const EVENTS: &str = "events: {timestamp: {field: meta.at, unit: Milliseconds}, \
     dimensions: [{name: store, field: $.store}, {name: sku, field: sku}], quantity: {field: qty, ifMissing: 1}, \
     amount: {field: total, text: true}, where: \"kind == 'sale'\", explode: items}";

/// Event times of mapped records, in milliseconds, without those in the future.
fn times<'a>(records: impl Iterator<Item = &'a (Vec<u8>, Vec<u8>)>) -> Vec<i64> {
    let now = retail_producer::run::clock().as_micros() / 1000;
    let values = records.filter_map(|(_, value)| serde_json::from_slice::<serde_json::Value>(value).ok());
    values.filter_map(|value| value["meta"]["at"].as_i64()).filter(|time| *time <= now).collect()
}

#[tokio::test]
async fn mapped_records_are_repeatable_and_go_on_from_the_newest() {
    const FAULTY: &str = "producer: {eventsPerSecond: 1000, speed: 600, faults: {future: 5, malformed: 5}}";
    let start = retail_producer::run::clock().minus(Span::from_secs(86_400));
    let start = ["--start-time", &start.to_string()];
    let cases = [1, 2].map(|_| Case::shared().timestamp_type(None).spec(EVENTS).spec(FAULTY).build());
    for case in &cases {
        case.apply_topic().await;
        let output = run(case, &[&["--events", "2000", "--rate", "max", "--seed", "5"], &start[..]].concat());
        assert!(output.status.success(), "{output:?}");
    }
    let sent = contents(&cases[0]);
    assert_eq!(sent.iter().map(Vec::len).sum::<usize>(), 2000);
    assert_eq!(sent, contents(&cases[1]));
    // On the clock, event time would begin years ago: it goes on from the newest record, a day ago.
    let newest = *times(sent.iter().flatten()).iter().max().unwrap();
    let mut producer = Program::start(PRODUCER, &cases[0], &[]);
    retail_testbed::eventually("more are sent", async || {
        ((0..2).map(|partition| cases[0].topic.end(partition)).sum::<i64>() > 2100).then_some(())
    })
    .await;
    producer.signal("TERM");
    assert_eq!(producer.exit_code(Duration::from_secs(60)).await, 0, "{}", producer.output());
    let more = contents(&cases[0]);
    let oldest = times(more.iter().zip(&sent).flat_map(|(all, sent)| &all[sent.len()..])).into_iter().min().unwrap();
    assert!(oldest >= newest - 7_200_000, "{oldest} is late after {newest}");
}

/// Registered under the subject of the topic, once; a later run with speed reads the records of the earlier one.
#[tokio::test]
async fn formats_have_registered_schemas_and_go_on_from_the_newest() {
    let registry = Registry::private();
    let start = retail_producer::run::clock().minus(Span::from_secs(86_400));
    let start = ["--start-time", &start.to_string()];
    for (kind, prefix) in [("Avro", 5), ("Protobuf", 6)] {
        let events = EVENTS.replace(
            "events: {",
            &format!("events: {{format: {{type: {kind}, registry: {{url: \"{}\"}}}}, ", registry.url()),
        );
        let case =
            Case::shared().partitions(1).timestamp_type(None).spec(&events).spec("producer: {speed: 600}").build();
        case.apply_topic().await;
        for _ in 0..2 {
            let output = run(&case, &[&["--events", "200", "--rate", "max", "--seed", "5"], &start[..]].concat());
            assert!(output.status.success(), "{output:?}");
        }
        let sent = case.topic.read(1).concat();
        // The same schema has the same id.
        assert_eq!(sent[..200], sent[200..]);
        let (_, first) = &sent[0];
        let id = u32::from_be_bytes(first[1..5].try_into().unwrap());
        let client = retail_registry::Registry::new(case.settings.registry.clone().unwrap()).unwrap();
        let verdict = client.schema(SchemaId::Number(id)).await.unwrap();
        let retail_registry::Verdict::Found(schema) = verdict else { panic!("{verdict:?}") };
        let mapping = &case.settings.pipeline.events.as_ref().unwrap().mapping;
        let newest = |records: &[(Vec<u8>, Vec<u8>)]| {
            let mut engine = Engine::with_mapping(case.settings.pipeline.rules, true, mapping);
            engine.learn_schema(SchemaId::Number(id), Some(&schema));
            engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
            for (offset, (_, value)) in (0..).zip(records) {
                assert_eq!(value[..prefix], first[..prefix]);
                let timestamp = Some(retail_producer::run::clock());
                let record = Record { offset, timestamp, value: Some(value), schema: None };
                let fate = engine.partition(0).unwrap().record(&record).unwrap();
                assert!(matches!(fate, Fate::Applied | Fate::Filtered | Fate::Late), "{fate:?}");
            }
            engine.take_batch().partitions[0].max_observed.unwrap()
        };
        let before = newest(&sent);
        let mut producer = Program::start(PRODUCER, &case, &[]);
        retail_testbed::eventually("more are sent", async || (case.topic.end(0) > 410).then_some(())).await;
        producer.signal("TERM");
        assert_eq!(producer.exit_code(Duration::from_secs(60)).await, 0, "{}", producer.output());
        // Without the newest record, event time would begin 600 days ago.
        let after = newest(&case.topic.read(1).concat()[400..]);
        assert!(after > before.minus(Span::from_secs(7200)), "{after} is late after {before}");
    }
    let output = run(&avro(&registry.url()), &["--records", "-"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    registry.stop();
    let case = avro(&registry.url());
    case.apply_topic().await;
    let output = run(&case, &["--events", "1"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot be reached: check that it is running"), "{said}");
}

/// A pipeline of Avro.
fn avro(url: &str) -> Case {
    let format = format!("events: {{format: {{type: Avro, registry: {{url: \"{url}\"}}}}, ");
    Case::shared().spec(&EVENTS.replace("events: {", &format)).build()
}

#[tokio::test]
async fn lines_of_a_file_are_sent_as_they_are() {
    let case = Case::shared().partitions(1).build();
    case.apply_topic().await;
    let file = case.file.with_extension("ndjson");
    std::fs::write(&file, "{\"a\": 1}\n\nnot json\r\n  {\"b\": \"\u{fc}\"}").unwrap();
    let output = run(&case, &["--records", file.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let summary = summary(&output);
    assert_eq!((&summary["events"], &summary["acknowledged"]), (&3.into(), &3.into()));
    let values: Vec<Vec<u8>> = case.topic.read(1).concat().into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [&b"{\"a\": 1}"[..], b"not json", "  {\"b\": \"\u{fc}\"}".as_bytes()]);

    std::fs::remove_file(&file).unwrap();
    let output = run(&case, &["--records", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot read "));
    let output = run(&case, &["--records", "-", "--events", "3"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn invalid_usage_exits_2() {
    let output = std::process::Command::new(PRODUCER).args(["-f", "nowhere.yaml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let output = std::process::Command::new(PRODUCER).args(["-f", "nowhere.yaml", "--rate", "0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
