//! Records whose schemas are in a registry.

use retail_testbed::{Case, CaseBuilder, Registry, Sent, at};

use crate::programs::{LIMIT, catch_up, http, start, until, until_consumed, until_ready};

/// The fields of the records, in a format.
fn events(case: CaseBuilder, format: &str) -> CaseBuilder {
    case.spec("events:")
        .spec(&format!("  format: {format}"))
        .spec("  timestamp: {field: time, unit: Milliseconds}")
        .spec("  dimensions: [{name: store, field: store}]")
        .spec("  quantity: {field: qty, ifMissing: 1}")
        .spec("  price: {field: cents, scale: 2}")
}

/// A value behind the id of its schema.
fn framed(id: u32, body: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], body].concat()
}

fn sent(partition: i32, timestamp: i64, value: Vec<u8>) -> Sent {
    Sent { partition, timestamp, value: Some(value) }
}

#[tokio::test]
async fn json_behind_a_schema_id_needs_no_registry() {
    let case = events(Case::shared().partitions(1), "{type: JSONSchema}").start().await;
    let order = |qty| format!(r#"{{"time":{},"store":"S","qty":{qty},"cents":250}}"#, at(0) * 1000).into_bytes();
    case.topic.send(&[
        sent(0, 0, framed(4_000_000_000, &order(1))),
        sent(0, 1, order(10)),
        sent(0, 2, framed(7, b"{")),
        Sent { partition: 0, timestamp: 3, value: None },
    ]);
    let guid = [&[1], &[7; 16][..]].concat();
    case.topic.with_header(0, 4, &order(100), "__value_schema_id", &guid);
    case.topic.with_header(0, 5, &order(1000), "__value_schema_id", &[1, 2]);
    case.topic.with_header(0, 6, &framed(8, &order(10_000)), "__key_schema_id", &guid);
    catch_up(&case).await;
    let reasons = "SELECT string_agg(reason, ' ' ORDER BY \"offset\") FROM dead_letter";
    assert_eq!(case.text(reasons).await, "no_schema_id malformed_json empty no_schema_id");
    assert_eq!(
        case.text("SELECT concat_ws(' ', total_quantity, total_amount) FROM retail").await,
        "10101 25252.500000"
    );
    case.assert_exact().await;
}

/// A format with schemas.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Avro,
    Protobuf,
}

/// The names of the fields of a schema.
type Fields = &'static [&'static str];

const FIRST: Fields = &["time", "store", "qty", "cents"];
const ADDED: Fields = &["note", "time", "store", "qty", "cents"];
const REMOVED: Fields = &["cents", "store", "time"];

fn varint(mut rest: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

impl Format {
    /// Registers a schema of orders. Returns its id.
    fn register(self, registry: &Registry, fields: Fields) -> u32 {
        let is_text = |name: &str| ["store", "note"].contains(&name);
        match self {
            Self::Avro => {
                let field = |name: &&str| {
                    let kind = if is_text(name) { "string" } else { "long" };
                    format!(r#"{{"name":"{name}","type":"{kind}"}}"#)
                };
                let fields: Vec<String> = fields.iter().map(field).collect();
                let schema = format!(r#"{{"type":"record","name":"Order","fields":[{}]}}"#, fields.join(","));
                registry.register_as("AVRO", "orders", &schema)
            }
            Self::Protobuf => {
                let field = |name: &&str| {
                    let kind = if is_text(name) { "string" } else { "int64" };
                    format!("optional {kind} {name} = {};", Self::number(name))
                };
                let fields: Vec<String> = fields.iter().map(field).collect();
                let schema = format!(r#"syntax = "proto3"; message Order {{ {} }}"#, fields.join(" "));
                registry.register_as("PROTOBUF", "orders", &schema)
            }
        }
    }

    /// The number of a field of Protobuf.
    fn number(name: &str) -> u64 {
        ADDED.iter().position(|field| *field == name).unwrap() as u64 + 1
    }

    /// An order of one piece for one cent, at this number of seconds since the beginning of 2025.
    fn order(self, id: u32, fields: Fields, seconds: i64) -> Vec<u8> {
        let text = |text: &str| [varint(self.long(text.len() as u64)), text.as_bytes().to_vec()].concat();
        let value = |name: &str| match name {
            "time" => varint(self.long(at(seconds).unsigned_abs() * 1000)),
            "store" => text("S"),
            "note" => text("hello"),
            _ => varint(self.long(1)),
        };
        let field = |name: &&str| match self {
            Self::Avro => value(name),
            Self::Protobuf => {
                let wire_type = if ["store", "note"].contains(name) { 2 } else { 0 };
                [varint(Self::number(name) << 3 | wire_type), value(name)].concat()
            }
        };
        // The first message of a schema has the index 0.
        let index: &[u8] = if self == Self::Protobuf { &[0] } else { &[] };
        framed(id, &[index.to_vec(), fields.iter().flat_map(field).collect()].concat())
    }

    /// A positive number before it is written as a varint: Avro's are zigzag.
    fn long(self, number: u64) -> u64 {
        if self == Self::Avro { number << 1 } else { number }
    }

    fn orders(self, partition: i32, from: i64, count: i64, id: u32, fields: Fields) -> Vec<Sent> {
        (from..from + count).map(|second| sent(partition, second, self.order(id, fields, second))).collect()
    }

    async fn case(self, registry: &Registry, partitions: i32) -> Case {
        let name = if self == Self::Avro { "Avro" } else { "Protobuf" };
        let format = format!("{{type: {name}, registry: {{url: \"{}\"}}}}", registry.url());
        events(Case::shared().partitions(partitions), &format).start().await
    }
}

/// Quantity, amount and number of the purchases.
async fn row(case: &Case) -> String {
    case.text("SELECT concat_ws(' ', total_quantity, total_amount, events) FROM retail").await
}

const PROBES: [&str; 4] = ["--workers", "1", "--http", "127.0.0.1:0"];

/// Three writers in one topic. The registry is away when the third one's first record comes, and is restarted; a processor is
/// killed and another one joins meanwhile.
#[tokio::test]
async fn only_partitions_with_new_schemas_wait_for_the_registry() {
    let registry = Registry::private();
    let format = Format::Avro;
    let case = format.case(&registry, 2).await;
    let ids = [FIRST, ADDED, REMOVED].map(|fields| format.register(&registry, fields));
    case.topic.send(&format.orders(0, 0, 50, ids[0], FIRST));
    case.topic.send(&format.orders(1, 0, 50, ids[1], ADDED));
    let processor = start(&case, &PROBES);
    until_consumed(&case, 100).await;
    until_ready(&processor, 200, "ready").await;

    registry.stop();
    case.topic.send(&format.orders(0, 50, 10, ids[0], FIRST));
    case.topic.send(&format.orders(0, 60, 10, ids[2], REMOVED));
    case.topic.send(&format.orders(0, 70, 10, ids[0], FIRST));
    case.topic.send(&format.orders(1, 50, 50, ids[1], ADDED));
    until_consumed(&case, 160).await;
    let waits =
        format!("records wait for schema {}: the schema registry at {} cannot be reached", ids[2], registry.url());
    until_ready(&processor, 503, &waits).await;
    until(&case, "the wait is noted", "SELECT count(*) = 1 AND min(partition) = 0 FROM schema_waits").await;
    let (_, metrics) = http(&processor, "/metrics").await;
    assert!(metrics.contains("retail_schema_waiting_partitions 1\n"), "{metrics}");
    assert!(metrics.contains("retail_schema_lookups_total{result=\"found\"} 2\n"), "{metrics}");
    assert_eq!(case.text("SELECT next_offset FROM partition_progress WHERE partition = 0").await, "60");

    // Partitions move while one of them waits.
    let other = start(&case, &PROBES);
    until(&case, "each process owns a partition", "SELECT count(DISTINCT owner) = 2 FROM partition_progress").await;
    processor.kill();
    until(&case, "one process owns both", "SELECT count(DISTINCT owner) = 1 FROM partition_progress").await;
    case.topic.send(&format.orders(1, 100, 10, ids[0], FIRST));
    until_consumed(&case, 170).await;
    until_ready(&other, 503, &waits).await;

    registry.start();
    until_consumed(&case, 190).await;
    until_ready(&other, 200, "ready").await;
    until(&case, "nothing waits", "SELECT count(*) = 0 FROM schema_waits").await;
    other.signal("TERM");
    assert_eq!(other.output().matches("WARN schemas: records wait").count(), 1, "{}", other.output());
    case.assert_exact().await;
    assert_eq!(row(&case).await, "190 1.900000 190");

    // Used schemas are known without a registry.
    registry.stop();
    registry.forget();
    case.topic.send(&format.orders(0, 80, 10, ids[2], REMOVED));
    catch_up(&case).await;
    assert_eq!(row(&case).await, "200 2.000000 200");
    case.assert_exact().await;
}

#[tokio::test]
async fn unknown_id_stays_unknown_after_it_was_registered() {
    let registry = Registry::private();
    let case = Format::Avro.case(&registry, 1).await;
    let known = Format::Avro.register(&registry, FIRST);
    let unknown = known + 1;
    case.topic.send(&Format::Avro.orders(0, 0, 1, known, FIRST));
    case.topic.send(&Format::Avro.orders(0, 1, 2, unknown, ADDED));
    let mut processor = start(&case, &["--until-caught-up", "--unknown-schema-after", "2s"]);
    assert_eq!(processor.exit_code(LIMIT).await, 0, "{}", processor.output());
    processor.says("does not know it: register it, or its records are invalid (unknown_schema) after 2s").await;
    let letters = "SELECT string_agg(concat_ws(': ', reason, detail), ', ' ORDER BY \"offset\") FROM dead_letter WHERE reason = 'unknown_schema'";
    let expected = [1, 2].map(|_| format!("unknown_schema: the registry does not know schema {unknown}")).join(", ");
    assert_eq!(case.text(letters).await, expected);

    assert_eq!(Format::Avro.register(&registry, ADDED), unknown);
    case.topic.send(&Format::Avro.orders(0, 3, 1, unknown, ADDED));
    catch_up(&case).await;
    assert_eq!(
        case.text(letters).await,
        format!("{expected}, unknown_schema: the registry does not know schema {unknown}")
    );
    case.topic.send(&[sent(0, 4, b"{}".to_vec()), sent(0, 5, framed(known, b"\x02\x7f"))]);
    catch_up(&case).await;
    let details = "SELECT string_agg(concat_ws(': ', reason, detail), ', ' ORDER BY \"offset\") FROM dead_letter WHERE \"offset\" > 3";
    assert_eq!(
        case.text(details).await,
        format!(
            "no_schema_id: does not begin with a schema id; looks like JSON: set format.type to JSON, malformed_avro: not a value of \
             schema {known} (Order): the length of a string is -64 at byte 1 of the body in field store"
        )
    );
    case.assert_exact().await;

    // Without the stored verdict, nothing can be verified.
    case.client().await.batch_execute(&format!("DELETE FROM schemas WHERE id = '{unknown}'")).await.unwrap();
    let error = case.try_verify().await.unwrap_err().to_string();
    assert!(error.contains(&format!("names schema {unknown}, which table schemas lacks")), "{error}");
}

/// As after a failover to a standby that lacks the newest commits: the processor remembers a verdict that is not stored.
#[tokio::test]
async fn lost_verdict_is_stored_again_before_records_are_committed() {
    let registry = Registry::shared();
    let (format, case) = (Format::Avro, Format::Avro.case(registry, 1).await);
    let id = format.register(registry, FIRST);
    case.topic.send(&format.orders(0, 0, 10, id, FIRST));
    let _processor = start(&case, &PROBES);
    until_consumed(&case, 10).await;
    case.client().await.batch_execute("DELETE FROM schemas").await.unwrap();
    case.topic.send(&format.orders(0, 10, 10, id, FIRST));
    until_consumed(&case, 20).await;
    assert_eq!(row(&case).await, "20 0.200000 20");
    case.assert_exact().await;
}

/// Each of these ids is unknown for two seconds, all of them at the same time: the records that wait behind the first one are asked for, too.
#[tokio::test]
async fn ids_of_waiting_records_are_searched_together() {
    let registry = Registry::shared();
    let (format, case) = (Format::Avro, Format::Avro.case(registry, 1).await);
    let known = format.register(registry, FIRST);
    let unknown = 1_000_000_000..1_000_000_040;
    let orders = |(second, id)| [format.orders(0, second, 1, id, FIRST), format.orders(0, second + 1, 1, known, FIRST)];
    let orders: Vec<Sent> = (0..).step_by(2).zip(unknown).flat_map(orders).flatten().collect();
    case.topic.send(&orders);
    let mut processor = start(&case, &["--until-caught-up", "--unknown-schema-after", "2s"]);
    assert_eq!(processor.exit_code(LIMIT).await, 0, "{}", processor.output());
    let ledger = "SELECT concat_ws(' ', applied, invalid, balanced) FROM ledger";
    assert_eq!(case.text(ledger).await, "40 40 t");
    // One after the other, they would take 80 seconds.
    let together = "SELECT max(stored_at) - min(stored_at) < interval '20 seconds' FROM schemas WHERE kind = 'unknown'";
    assert_eq!(case.text(together).await, "true");
    case.assert_exact().await;
}

/// Deduplication reads the records before the position again, which name schemas, too.
#[tokio::test]
async fn ids_of_earlier_records_are_read_again_without_a_registry() {
    let registry = Registry::private();
    let format = Format::Protobuf;
    let url = registry.url();
    let case = events(Case::shared().partitions(1), &format!("{{type: Protobuf, registry: {{url: \"{url}\"}}}}"))
        .spec("  transactionId: {field: time}")
        .spec("deduplicate: {within: 1h}")
        .start()
        .await;
    let ids = [FIRST, ADDED].map(|fields| format.register(&registry, fields));
    case.topic.send(&format.orders(0, 0, 10, ids[0], FIRST));
    case.topic.send(&format.orders(0, 10, 10, ids[1], ADDED));
    catch_up(&case).await;
    registry.stop();
    case.topic.send(&format.orders(0, 5, 10, ids[0], FIRST));
    catch_up(&case).await;
    let ledger = "SELECT concat_ws(' ', applied, duplicate, invalid, balanced) FROM ledger";
    assert_eq!(case.text(ledger).await, "20 10 0 t");
    assert_eq!(row(&case).await, "20 0.200000 20");
    case.assert_exact().await;
}

#[tokio::test]
async fn registry_that_stays_away_ends_a_run_until_caught_up() {
    let registry = Registry::private();
    let case = Format::Avro.case(&registry, 1).await;
    case.topic.send(&Format::Avro.orders(0, 0, 1, 1, FIRST));
    registry.stop();
    let mut processor = start(&case, &["--until-caught-up"]);
    assert_eq!(processor.exit_code(LIMIT).await, 1);
    assert!(processor.output().contains("cannot be reached: check that it is running, and events.format.registry.url"));
    assert_eq!(case.text("SELECT sum(consumed) FROM ledger").await, "0");
}
