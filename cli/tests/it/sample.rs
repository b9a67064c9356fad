//! `retail sample`: records of a topic and of files.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use retail_testbed::{Case, Program, Registry, Sent, Silence, SilentProxy, at};
use serde_json::{Value, json};

use crate::RETAIL;

/// Exit code, standard output, standard error.
fn ended(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn order(second: i64) -> Vec<u8> {
    let time = at(second) * 1000;
    json!({"eventTime": time, "qty": 2, "amount": 39.98, "paymentMethod": "card", "productCategory": "Toys", "id": second})
        .to_string()
        .into_bytes()
}

fn send(case: &Case, partition: i32, seconds: std::ops::Range<i64>) {
    let sent = |second| Sent { partition, timestamp: second, value: Some(order(second)) };
    case.topic.send(&seconds.map(sent).collect::<Vec<_>>());
}

/// The 500 events with which every stranger begins.
#[tokio::test]
async fn foreign_topic_is_explained_with_a_mapping_that_works() {
    let case = Case::shared().partitions(2).build();
    case.apply_topic().await;
    send(&case, 0, 0..60);
    send(&case, 1, 30..90);
    let (code, said, error) = ended(case.command(RETAIL).args(["sample", "--last", "40"]));
    assert_eq!((code, error.as_str()), (0, ""));
    let lines: Vec<&str> = said.lines().collect();
    let time = at(50) * 1000;
    assert_eq!(
        lines[0],
        format!(
            "partition 0 offset 55: invalid, missing_field: timestamp missing; has \"eventTime\": {} | quantity missing; has \"qty\": \
             2 | price missing; has \"amount\": 39.98 | category missing; has \"productCategory\": \"Toys\" | payment_method missing; \
             has \"paymentMethod\": \"card\"",
            time + 5000
        )
    );
    assert!(said.contains("\n40 records: 0 applied, 0 filtered, 40 invalid (40 missing_field)\n"), "{said}");
    let (_, proposal) = said.split_once("reads 40 of 40 records:\n\n").unwrap();
    assert_eq!(
        proposal,
        "  events:
    timestamp: {field: eventTime, unit: Milliseconds}
    dimensions:
    - {name: product_category, field: productCategory}
    - {name: payment_method, field: paymentMethod}
    quantity: {field: qty}
    amount: {field: amount}
"
    );
    // Pasted into the file, it reads the records.
    let yaml = std::fs::read_to_string(&case.file).unwrap();
    std::fs::write(&case.file, format!("{}\n{proposal}", yaml.trim_end())).unwrap();
    let (code, said, error) = ended(case.command(RETAIL).args(["sample", "--last", "2"]));
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(
        said,
        "partition 1 offset 58: applied, 2025-01-01T00:01:28Z, product_category \"Toys\" payment_method \"card\" 2 × 19.99 = 39.98
partition 1 offset 59: applied, 2025-01-01T00:01:29Z, product_category \"Toys\" payment_method \"card\" 2 × 19.99 = 39.98

2 records: 2 applied, 0 filtered, 0 invalid
1 groups; event times from 2025-01-01T00:01:28Z to 2025-01-01T00:01:29Z
"
    );
    assert_eq!(case.try_text("SELECT count(*) FROM pipeline").await, None, "nothing was created");
}

/// Avro of the registry, before and after the registry is stopped, and the same topic under a pipeline that declares JSON.
#[tokio::test]
async fn avro_is_explained_by_its_schema() {
    let registry = Registry::private();
    let format = format!("  format: {{type: Avro, registry: {{url: \"{}\"}}}}", registry.url());
    let case = Case::shared()
        .partitions(1)
        .spec("events:")
        .spec(&format)
        .spec("  timestamp: {field: time, unit: Milliseconds}")
        .spec("  dimensions: [{name: store, field: store}]")
        .spec("  quantity: {field: quantity}")
        .spec("  price: {field: price}")
        .build();
    case.apply_topic().await;
    let schema = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"time","type":"long"},{"name":"store","type":"string"},{"name":"qty","type":"int"},{"name":"price","type":"int"}]}"#;
    let id = registry.register_as("AVRO", "orders", schema);
    let framed = |id: u32, body: &[u8]| [&[0], &id.to_be_bytes()[..], body].concat();
    let long = |number: i64| {
        let mut rest = number.unsigned_abs() << 1;
        let mut bytes = Vec::new();
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes
    };
    let order = |second| framed(id, &[long(at(second) * 1000), b"\x02S".to_vec(), long(2), long(5)].concat());
    let sent = |second, value| Sent { partition: 0, timestamp: second, value: Some(value) };
    let mut records: Vec<Sent> = (0..20).map(|second| sent(second, order(second))).collect();
    records.push(sent(20, framed(id + 1000, b"x")));
    records.push(sent(21, framed(id, b"\x02\x7f")));
    case.topic.send(&records);
    let (code, said, error) = ended(case.command(RETAIL).arg("sample"));
    assert_eq!((code, error.as_str()), (0, ""));
    let lines: Vec<&str> = said.lines().collect();
    let missing = format!("invalid, missing_field: quantity missing in schema {id} (shop.Order); has \"qty\": 2");
    assert_eq!(lines[0], format!("partition 0 offset 0: {missing}"));
    let unknown = id + 1000;
    assert_eq!(
        lines[20],
        format!("partition 0 offset 20: invalid, unknown_schema: the registry does not know schema {unknown}")
    );
    assert!(lines[21].contains("the length of a string is -64 at byte 1 of the body in field store"), "{}", lines[21]);
    assert!(said.contains(&format!("\nschemas: {id} shop.Order (21)\n")), "{said}");
    let (_, proposal) = said.split_once("reads 20 of 22 records:\n\n").unwrap();
    assert!(proposal.starts_with("  events:\n    format: {\"type\":\"Avro\",\"registry\":{"), "{proposal}");
    let (code, doctor, _) = ended(case.command(RETAIL).arg("doctor"));
    assert!(code == 1 && doctor.contains("22 of the newest 22 records are invalid"), "{doctor}");
    let answers = format!("{} answers\n", registry.url());
    assert!(doctor.contains("ok    registry") && doctor.contains(&answers), "{doctor}");
    let subject = format!("{}-value", case.topic.name);
    assert!(doctor.contains(&format!("the registry has no subject {subject}\n")), "{doctor}");
    let newest = registry.register_as("AVRO", &subject, schema);
    let lacks =
        format!("version 1 of {subject}, schema {newest} (shop.Order), lacks quantity; it has time, store, qty, price");
    let plan = |arguments: &[&str]| {
        ended(case.command(RETAIL).args(["plan", "-f", case.file.to_str().unwrap()]).args(arguments))
    };
    let (code, said, _) = plan(&[]);
    assert!(code == 0 && said.contains(&answers) && said.contains(&lacks), "{said}");

    registry.stop();
    let (code, said, _) = ended(case.command(RETAIL).arg("sample"));
    assert_eq!(code, 0);
    assert!(said.contains("22 records: 0 applied, 0 filtered, 0 invalid, 22 waiting for their schemas\n"), "{said}");
    assert!(said.contains(&format!("the schema registry at {} cannot be reached", registry.url())), "{said}");
    let (code, said, _) = plan(&[]);
    assert!(code == 0 && said.contains("FAIL  registry tcp  127.0.0.1:"), "a plan needs no registry: {said}");
    assert!(!plan(&["--offline"]).1.contains("registry tcp"));
    let yaml = std::fs::read_to_string(&case.file).unwrap();
    std::fs::write(&case.file, yaml.replace(&format, "  format: {type: JSON}")).unwrap();
    let (_, said, _) = ended(case.command(RETAIL).args(["sample", "--last", "3"]));
    let hint = format!("begins with the id of schema {id}: looks like Avro; set format.type to Avro");
    assert!(said.contains(&hint), "{said}");
}

#[test]
fn file_of_records_needs_no_pipeline() {
    let directory = std::env::temp_dir().join(format!("retail-sample-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("records.ndjson");
    let mut lines: Vec<Vec<u8>> = (0..20).map(order).collect();
    lines.insert(1, b"".to_vec());
    lines.push(b"not json\x1b[2J".to_vec());
    std::fs::write(&file, lines.join(&b"\n"[..])).unwrap();
    let retail = || {
        let mut command = Command::new(RETAIL);
        command.env_remove("RETAIL_PIPELINE").arg("sample");
        command
    };
    let (code, said, error) = ended(retail().arg("--file").arg(&file));
    assert_eq!((code, error.as_str()), (0, ""));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[1],
        "line 3: applied, 2025-01-01T00:00:01Z, product_category \"Toys\" payment_method \"card\" 2 × 19.99 = 39.98",
        "by the proposal"
    );
    assert!(
        lines[20].starts_with("line 22: invalid, malformed_json: not JSON: expected ident at line 1 column 2"),
        "{}",
        lines[20]
    );
    assert!(said.contains("21 records: 20 applied, 0 filtered, 1 invalid (1 malformed_json)\n"), "{said}");
    assert!(said.contains("reads 20 of 21 records:\n\n  events:\n"), "{said}");

    let mut piped =
        retail().args(["--file", "-", "--json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all(&std::fs::read(&file).unwrap()).unwrap();
    let json: Value = serde_json::from_slice(&piped.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(
        json["records"][0],
        json!({
            "line": 1, "fate": "applied", "eventTime": "2025-01-01T00:00:00Z",
            "purchases": [{"dimensions": {"product_category": "Toys", "payment_method": "card"}, "quantity": 2, "price": "19.99", "amount": "39.98"}],
        })
    );
    assert_eq!(json["records"][20]["reason"], "malformed_json");
    assert_eq!(json["summary"]["fates"], json!({"applied": 20, "invalid": 1}));
    assert_eq!((&json["proposal"]["reads"], &json["proposal"]["of"]), (&json!(20), &json!(21)));

    std::fs::write(&file, "{\"event\": \"login\"}\n").unwrap();
    let (code, said, _) = ended(retail().arg("--file").arg(&file));
    assert_eq!(code, 0);
    assert!(said.ends_with("no mapping can be proposed: no field looks like a price or an amount\n"), "{said}");
    std::fs::write(&file, r#"{"category":"A","payment_method":"B","quantity":1,"price":2.5,"timestamp":1735689600}"#)
        .unwrap();
    let (code, said, _) = ended(retail().arg("--file").arg(&file));
    assert_eq!((code, said.contains("mapping")), (0, false), "the tutorial's fields need none: {said}");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn sample_without_records_or_pipeline_is_misuse() {
    let case = Case::shared().build();
    let fails = |command: &mut Command| {
        let (code, said, error) = ended(command);
        assert_eq!(said, "");
        (code, error)
    };
    let nothing = fails(Command::new(RETAIL).env_remove("RETAIL_PIPELINE").arg("sample"));
    assert_eq!(nothing, (2, "give a pipeline with -f, or a file of records with --file\n".to_owned()));
    let both = fails(Command::new(RETAIL).args(["sample", "-f", "-", "--file", "-"]));
    assert_eq!(both, (2, "-f and --file cannot both read standard input\n".to_owned()));
    for wrong in [&["--last", "0"][..], &["--last", "10001"], &["--last", "5", "--file", "x"]] {
        assert_eq!(fails(case.command(RETAIL).arg("sample").args(wrong)).0, 2, "{wrong:?}");
    }
    let (code, error) = fails(case.command(RETAIL).args(["sample", "--file", "/missing/records"]));
    assert!(code == 1 && error.starts_with("cannot read /missing/records: "), "{error}");
    let (code, error) = fails(case.command(RETAIL).arg("sample"));
    assert!(code == 1 && error.contains("does not exist") && error.contains("retail apply-topic"), "{error}");
}

#[tokio::test]
async fn sample_ends_with_1_when_kafka_is_silent() {
    let case = Case::shared().partitions(1).build();
    case.apply_topic().await;
    let proxy = SilentProxy::start(&case.settings.kafka.bootstrap_servers, Silence::Never).await;
    proxy.silence();
    let servers = format!("127.0.0.1:{}", proxy.port());
    let mut sample = Program::start(RETAIL, &case, &["sample", "--bootstrap-servers", &servers]);
    assert_eq!(sample.exit_code(Duration::from_secs(60)).await, 1);
    assert!(sample.output().contains(&format!("cannot reach Kafka at {servers}")), "{}", sample.output());
}
