//! Records of the serializers of other projects: Confluent's client for Python, and Apache Avro for Java.

use std::path::Path;
use std::process::Command;

use retail_testbed::{Case, Registry, Sent, unique};

use crate::programs::catch_up;

fn path(name: &str) -> String {
    format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The path that `dev/serializers` prints.
fn serializer(language: &str) -> String {
    let script = path("../dev/serializers");
    assert!(Path::new(&script).exists());
    output(Command::new(script).arg(language)).trim_end().to_owned()
}

/// The records of a format in the output of a program.
fn records(printed: &str, format: &str) -> Vec<Vec<u8>> {
    let lines = printed.lines().filter_map(|line| line.split_once(' ')).filter(|(kind, _)| *kind == format);
    let byte = |hex: &[u8]| u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap();
    lines.map(|(_, hex)| hex.as_bytes().chunks(2).map(byte).collect()).collect()
}

/// Ten orders of two pieces for 19.99 in shop S: the fifth and the tenth lack the quantity.
async fn assert_read(format: &str, unit: &str, records: Vec<Vec<u8>>) {
    let registry = format!("registry: {{url: \"{}\"}}", Registry::shared().url());
    let registry = if format == "JSONSchema" { String::new() } else { format!(", {registry}") };
    let case = Case::shared()
        .partitions(1)
        .spec("events:")
        .spec(&format!("  format: {{type: {format}{registry}}}"))
        .spec(&format!("  timestamp: {{field: at{unit}}}"))
        .spec("  dimensions: [{name: shop, field: shop.id}]")
        .spec("  quantity: {field: qty}")
        .spec("  price: {field: price}")
        .start()
        .await;
    assert_eq!(records.len(), 10, "{format}");
    let sent = |(timestamp, value)| Sent { partition: 0, timestamp, value: Some(value) };
    case.topic.send(&(0..).zip(records).map(sent).collect::<Vec<_>>());
    catch_up(&case).await;
    let ledger = "SELECT concat_ws(' ', applied, invalid, balanced) FROM ledger";
    assert_eq!(case.text(ledger).await, "8 2 t", "{format}");
    let row = "SELECT concat_ws(' ', shop, total_quantity, total_amount, events) FROM retail";
    assert_eq!(case.text(row).await, "S 16 319.840000 8", "{format}");
    let letters = "SELECT string_agg(concat_ws(' ', \"offset\", reason), ', ' ORDER BY \"offset\") FROM dead_letter";
    assert_eq!(case.text(letters).await, "4 missing_field, 9 missing_field", "{format}");
    case.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_other_serializers_are_read_as_written() {
    let (registry, topic) = (Registry::shared(), unique("serializers"));
    let mut confluent = Command::new(serializer("python"));
    let confluent = output(confluent.args([path("tests/it/serializers/confluent.py"), registry.url(), topic.clone()]));
    let classes = serializer("java");
    let apache = |argument: &str| {
        let program = path("tests/it/serializers/Apache.java");
        output(Command::new("java").args(["-XX:TieredStopAtLevel=1", "-cp", &classes, &program, argument]))
    };
    let id = registry.register_as("AVRO", &topic, apache("schema").trim_end());
    tokio::join!(
        assert_read("Avro", "", records(&confluent, "avro")),
        assert_read("Protobuf", "", records(&confluent, "protobuf")),
        assert_read("JSONSchema", ", unit: Milliseconds", records(&confluent, "json")),
        assert_read("Avro", ", unit: Milliseconds", records(&apache(&id.to_string()), "avro")),
    );
}
