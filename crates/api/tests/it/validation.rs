//! Messages for an invalid pipeline.yaml.

use std::time::Duration;

use retail_api::Pipeline;

const MINIMAL: &str = "
apiVersion: retailpipeline.dev/v1alpha1
kind: RetailPipeline
metadata: {name: my-shop}
spec:
  kafka: {bootstrapServers: 'kafka:9092'}
  topic: {name: retail-events}
  database: {host: postgres, name: shop}
";

/// The problems of the minimal pipeline with more lines under spec.
fn problems(lines: &str) -> String {
    Pipeline::parse(&format!("{MINIMAL}{lines}")).map_or_else(|problems| problems.to_string(), |_| "valid".to_owned())
}

#[test]
fn minimal_pipeline_has_the_documented_defaults() {
    let pipeline = Pipeline::parse(MINIMAL).unwrap();
    assert_eq!((pipeline.topic.new_partitions(), pipeline.topic.replication_factor), (4, 1));
    assert_eq!(Duration::from(pipeline.rules.window), Duration::from_secs(300));
    assert_eq!(Duration::from(pipeline.rules.delay), Duration::from_secs(3600));
    assert_eq!(Duration::from(pipeline.rules.max_future), Duration::from_secs(3600));
    assert_eq!((pipeline.idle_timeout, pipeline.trigger), (Duration::from_secs(60), Duration::from_secs(300)));
    assert_eq!((pipeline.schema.as_str(), pipeline.database.port), ("my_shop", 5432));
    assert_eq!(pipeline.uid, "local:default/my-shop");
    assert!(pipeline.print_rows && pipeline.producer.is_none());
}

#[test]
fn all_problems_are_reported_with_line_and_column() {
    let text = r#"apiVersion: retailpipeline.dev/v1alpha1
kind: RetailPipeline
metadata: {name: Retail_1}
spec:
  kafka:
    bootstrapServers: kafka
  topic: {name: "retail events", partitions: 0, config: {retention.ms: 604800000}, replicationFactor: two}
  window: 7m
  watermark:
    delay: 1 hour
    idelTimeout: 5m
    whenIdle: Wait
  trigger: 2h
  database:
    host: postgres
    schema: pg_retail
    secret: {name: x, uriKey: uri, passwordKey: p}
  producer: {faults: {tooLate: 60, malformed: 50}}
  printRow: true
"#;
    insta::assert_snapshot!(Pipeline::parse(text).unwrap_err(), @r#"
    3:18: metadata.name: name must be lower-case letters, digits and '-', beginning and ending with a letter or digit
    6:23: spec.kafka.bootstrapServers: must be host:port, or several separated by commas, not "kafka"
    7:17: spec.topic.name: must be letters, digits, '.', '_' and '-', not "retail events"
    7:46: spec.topic.partitions: must be 1 to 1024
    7:72: spec.topic.config.retention.ms: must be a string: write "604800000" instead of 604800000
    7:103: spec.topic.replicationFactor: must be a whole number
    8:11: spec.window: window must divide 24h evenly: 5m, 1h and 24h do, 7m does not
    10:12: spec.watermark.delay: must be a duration such as 5m, 1h30m or 500ms, not "1 hour"
    11:5: spec.watermark.idelTimeout: unknown field: did you mean idleTimeout?
    12:15: spec.watermark.whenIdle: must be Hold or FollowClock, not "Wait"
    13:12: spec.trigger: trigger must be 100ms to 1h
    15:5: spec.database.name: is required
    16:13: spec.database.schema: schema must not begin with pg_, which Postgres reserves for itself
    17:13: spec.database.secret: set either uriKey, or usernameKey and passwordKey
    18:22: spec.producer.faults: faults must add up to at most 100
    19:3: spec.printRow: unknown field: did you mean printRows?
    "#);
}

#[test]
fn invalid_yaml_is_reported_with_its_position() {
    insta::assert_snapshot!(Pipeline::parse("kind: [").unwrap_err(), @"1:7: unclosed bracket '['");
    insta::assert_snapshot!(Pipeline::parse("a: 1\na: 2").unwrap_err(), @"2:1: duplicate mapping key: a");
    insta::assert_snapshot!(Pipeline::parse("just text").unwrap_err(), @"
    1:1: must be a mapping
    1:1: apiVersion: must be retailpipeline.dev/v1alpha1
    1:1: kind: must be RetailPipeline
    1:1: metadata.name: is required and must be a string
    ");
    insta::assert_snapshot!(Pipeline::parse("").unwrap_err(), @"1:1: the file contains no RetailPipeline");
}

#[test]
fn other_resources_in_the_file_are_ignored() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: retail-db}\nstringData: {a: b}\n---\n";
    assert_eq!(Pipeline::parse(&format!("{secret}{MINIMAL}---\n")).unwrap().name, "my-shop");
    insta::assert_snapshot!(Pipeline::parse(&format!("{MINIMAL}---{MINIMAL}")).unwrap_err(), @"10:1: the file contains 2 RetailPipelines, but must contain exactly one");
    insta::assert_snapshot!(Pipeline::parse(&format!("{secret}{secret}")).unwrap_err(), @"1:1: the file contains no RetailPipeline");
}

#[test]
fn windows_that_do_not_divide_a_day_are_rejected() {
    for window in ["1s", "5m", "1h", "1h30m", "24h", "86400s", "90s"] {
        assert_eq!(problems(&format!("  window: {window}\n")), "valid", "{window}");
    }
    // K11 of the conformance cases: windows have a length and are aligned.
    for window in ["0s", "7m", "25h", "48h", "13s"] {
        assert_ne!(problems(&format!("  window: {window}\n")), "valid", "{window}");
    }
    for window in ["-5m", "", "5", "5 m", "1500ms", "5M", "0.5h"] {
        assert!(problems(&format!("  window: '{window}'\n")).contains("must"), "{window}");
    }
}

#[test]
fn empty_sections_have_their_defaults() {
    assert_eq!(problems("  processor:\n  watermark:\n  producer:\n"), "valid");
}

#[test]
fn duration_without_a_unit_is_refused_with_advice_that_is_accepted() {
    let text = |window: &str, delay: &str| {
        format!(
            "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: a}}\nspec:\n  \
             kafka: {{bootstrapServers: \"kafka:9092\"}}\n  topic: {{name: t}}\n  database: {{host: h, name: d}}\n  \
             window: {window}\n  watermark: {{delay: {delay}}}\n"
        )
    };
    insta::assert_snapshot!(Pipeline::parse(&text("300", "60")).unwrap_err(), @r"
    8:11: spec.window: must be a duration with its unit: write 300s instead of 300
    9:22: spec.watermark.delay: must be a duration with its unit: write 60s instead of 60
    ");
    Pipeline::parse(&text("300s", "60s")).unwrap();
}

#[test]
fn amounts_that_no_pod_can_have_are_refused() {
    assert_eq!(
        problems(
            "  processor: {resources: {requests: {cpu: 1, memory: 1.5Gi}, limits: {cpu: '1.0', memory: 1536Mi}}}\n"
        ),
        "valid"
    );
    insta::assert_snapshot!(
        problems("  processor: {resources: {requests: {memory: lots, cpu: 1500m}, limits: {cpu: 1}}}\n"),
        @r#"9:46: spec.processor.resources.requests.memory: must be a quantity such as 500m or 2Gi, not "lots""#
    );
    insta::assert_snapshot!(
        problems("  producer: {resources: {requests: {memory: 1Gi, cpu: 1500m}, limits: {cpu: 1, memory: 1G}}}\n"),
        @r"
    9:45: spec.producer.resources.requests.memory: must not be above limits.memory, which is 1G
    9:55: spec.producer.resources.requests.cpu: must not be above limits.cpu, which is 1
    "
    );
}

#[test]
fn brokers_can_have_ipv6_addresses() {
    let parse = |servers: &str| Pipeline::parse(&MINIMAL.replace("kafka:9092", servers)).map(drop);
    for servers in ["[::1]:9092", "[2001:db8::1]:9092,kafka:9093", "10.0.0.1:9092"] {
        assert_eq!(parse(servers), Ok(()), "{servers}");
    }
    for servers in ["::1:9092", "[::1]", "[kafka]:9092", "[::1]:9092,"] {
        assert!(parse(servers).is_err(), "{servers}");
    }
}
