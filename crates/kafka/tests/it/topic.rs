//! Topics on a real broker: creation, growth, settings, deletion.

use std::collections::BTreeMap;

use retail_api::resource::Topic;
use retail_api::topic::TopicManagement;
use retail_connection::{ErrorKind, Removal};
use retail_kafka::topic::{self, Action, Difference, Observed, Setting, ensure, observe, plan};
use retail_kafka::{Allowed, KafkaAdmin, KafkaConnection, LogOffset, Operation, TopicDescription};
use retail_testbed::{Case, Kafka, Sent};

fn declared(config: &[(&str, &str)]) -> Topic {
    let config = config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Topic {
        name: "t".to_owned(),
        partitions: Some(4),
        management: TopicManagement::default(),
        start_position: None,
        replication_factor: 1,
        config,
    }
}

fn observed(partitions: i32, replication_factor: i32) -> Observed {
    let description = TopicDescription { id: "id".to_owned(), partitions, replication_factor };
    Observed { description, config: BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]) }
}

#[test]
fn plan_separates_actions_from_reported_differences() {
    let topic = declared(&[("retention.ms", "5")]);
    assert_eq!(plan(&topic, None), (vec![Action::Create], vec![]));
    assert_eq!(plan(&topic, Some(&observed(4, 1))), (vec![], vec![]));
    assert_eq!(plan(&topic, Some(&observed(3, 1))), (vec![Action::Grow { from: 3, to: 4 }], vec![]));
    let topic = declared(&[("retention.ms", "6")]);
    let longer = Setting { name: "retention.ms".to_owned(), is: "5".to_owned(), declared: "6".to_owned() };
    let (actions, differences) = plan(&topic, Some(&observed(3, 1)));
    assert_eq!(actions, [Action::Grow { from: 3, to: 4 }, Action::Alter(vec![longer])]);
    assert_eq!(differences, []);
    let topic = declared(&[("retention.ms", "4"), ("retention.m", "6")]);
    let (actions, differences) = plan(&topic, Some(&observed(5, 3)));
    assert_eq!(actions, []);
    let differences: Vec<String> = differences.iter().map(Difference::to_string).collect();
    assert_eq!(
        differences,
        [
            "it has 5 partitions, not 4 as declared",
            "its replication factor is 3, not 1 as declared",
            "retention.m is declared as 6, but is not a topic setting",
            "retention.ms is 5, not 4 as declared: the change would delete records",
        ]
    );
}

#[test]
fn setting_that_would_delete_records_is_not_altered() {
    // The setting, its present value, the declared value, and the result: done, left, or same.
    for (name, is, wanted, what) in [
        ("retention.ms", "5", "6", "done"),
        ("retention.ms", "6", "-1", "done"),
        ("retention.ms", "6", "5", "left"),
        ("retention.ms", "-1", "5", "left"),
        ("retention.ms", "604800000", "0604800000", "same"),
        ("retention.ms", "604800000", "a week", "done"),
        ("retention.bytes", "-1", "1000000", "left"),
        ("retention.bytes", "1000000", "-1", "done"),
        ("cleanup.policy", "delete", "compact", "left"),
        ("cleanup.policy", "delete", "compact,delete", "left"),
        ("cleanup.policy", "compact,delete", "delete", "done"),
        ("cleanup.policy", "compact,delete", "compact, delete", "same"),
        ("remote.storage.enable", "true", "false", "left"),
        ("remote.storage.enable", "false", "true", "done"),
        ("max.message.bytes", "1048588", "2000000", "done"),
        ("max.message.bytes", "2000000", "1048588", "done"),
        ("min.cleanable.dirty.ratio", "0.5", "0.50", "same"),
        ("unclean.leader.election.enable", "false", "False", "same"),
        ("compression.type", "producer", "zstd", "done"),
        ("compression.type", "gzip", "GZIP", "done"),
        ("leader.replication.throttled.replicas", "", "*", "done"),
        ("leader.replication.throttled.replicas", "", "", "same"),
    ] {
        let mut observed = observed(4, 1);
        observed.config.insert(name.to_owned(), is.to_owned());
        let (actions, differences) = plan(&declared(&[(name, wanted)]), Some(&observed));
        let found = match (actions.len(), differences.len()) {
            (1, 0) => "done",
            (0, 1) => "left",
            (0, 0) => "same",
            _ => "both",
        };
        assert_eq!(found, what, "{name}: {is} -> {wanted}");
    }
}

#[test]
fn plan_grows_only_to_a_declared_number_and_never_changes_a_used_topic() {
    let mut topic = declared(&[("retention.ms", "1000")]);
    let mut seen = observed(1, 1);
    seen.config.insert("retention.ms".to_owned(), "10".to_owned());
    topic.partitions = None;
    let (actions, _) = plan(&topic, Some(&seen));
    assert!(matches!(&actions[..], [Action::Alter(_)]), "{actions:?}");
    topic.partitions = Some(4);
    topic.management = TopicManagement::Use;
    assert_eq!(plan(&topic, Some(&seen)), (vec![], vec![]));
    assert_eq!(plan(&topic, None), (vec![], vec![]));
}

#[tokio::test]
async fn topic_is_created_grown_and_then_unchanged() {
    let case = Case::shared().partitions(3).build();
    let (kafka, mut topic) = (&case.settings.kafka, case.settings.pipeline.topic.clone());
    assert_eq!(observe(kafka, &topic.name).await.unwrap(), None);

    let created = ensure(kafka, &topic).await.unwrap();
    assert_eq!((created.actions, created.description.partitions), (vec![Action::Create], 3));
    assert_eq!(observe(kafka, &topic.name).await.unwrap().unwrap().config["retention.ms"], "-1");
    assert_eq!(ensure(kafka, &topic).await.unwrap().actions, []);

    topic.partitions = Some(5);
    topic.config.insert("retention.ms".to_owned(), "1000".to_owned());
    let grown = ensure(kafka, &topic).await.unwrap();
    assert_eq!((grown.actions, grown.description.partitions), (vec![Action::Grow { from: 3, to: 5 }], 5));
    assert_eq!(grown.description.id, created.description.id);
    // The retention is never reduced.
    assert_eq!(grown.differences.len(), 1, "{:?}", grown.differences);
    assert_eq!(observe(kafka, &topic.name).await.unwrap().unwrap().config["retention.ms"], "-1");
}

/// Of two pipelines that create a topic at once, the broker says yes to one.
#[tokio::test]
async fn topic_created_twice_at_once_has_one_creator() {
    for _ in 0..6 {
        let case = Case::shared().partitions(1).build();
        let (kafka, topic) = (&case.settings.kafka, &case.settings.pipeline.topic);
        let (one, other) = tokio::join!(ensure(kafka, topic), ensure(kafka, topic));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one.description.id, other.description.id);
        let created = [one, other].map(|ensured| ensured.actions.contains(&Action::Create));
        assert!(created == [true, false] || created == [false, true], "{created:?}");
    }
}

/// Applies the topic, and waits until its plan is empty.
async fn settle(kafka: &KafkaConnection, topic: &Topic) -> Observed {
    ensure(kafka, topic).await.unwrap();
    retail_testbed::eventually("the topic is as declared", async || {
        let observed = observe(kafka, &topic.name).await.unwrap()?;
        plan(topic, Some(&observed)).0.is_empty().then_some(observed)
    })
    .await
}

#[tokio::test]
async fn changed_settings_are_restored_undeclared_ones_remain() {
    let case = Case::shared().partitions(1).build();
    let (kafka, mut topic) = (&case.settings.kafka, case.settings.pipeline.topic.clone());
    topic.config = declared(&[("retention.ms", "86400000"), ("max.message.bytes", "200000")]).config;
    settle(kafka, &topic).await;

    // Another client changes both, and a third one that is not declared.
    let mut drifted = topic.clone();
    drifted.config =
        declared(&[("retention.ms", "90000000"), ("max.message.bytes", "100000"), ("segment.ms", "777777")]).config;
    settle(kafka, &drifted).await;

    let ensured = ensure(kafka, &topic).await.unwrap();
    let smaller =
        Setting { name: "max.message.bytes".to_owned(), is: "100000".to_owned(), declared: "200000".to_owned() };
    assert_eq!(ensured.actions, [Action::Alter(vec![smaller])]);
    assert_eq!(ensured.differences.len(), 1, "{:?}", ensured.differences);
    let is = settle(kafka, &topic).await.config;
    let is = ["max.message.bytes", "retention.ms", "segment.ms"].map(|name| is[name].as_str());
    assert_eq!(is, ["200000", "90000000", "777777"]);
}

#[tokio::test]
async fn setting_in_kafkas_notation_is_not_altered_again() {
    let case = Case::shared().partitions(1).build();
    let (kafka, mut topic) = (&case.settings.kafka, case.settings.pipeline.topic.clone());
    settle(kafka, &topic).await;
    topic.config = declared(&[
        ("max.message.bytes", " 0200000 "),
        ("min.cleanable.dirty.ratio", "0.250"),
        ("unclean.leader.election.enable", "TRUE"),
        ("leader.replication.throttled.replicas", "0:0 , 0:1"),
        ("message.timestamp.type", "LogAppendTime"),
    ])
    .config;
    settle(kafka, &topic).await;
    assert_eq!(ensure(kafka, &topic).await.unwrap().actions, []);
}

#[tokio::test]
async fn new_topic_gets_the_brokers_timestamps_existing_one_keeps_its_own() {
    let case = Case::shared().partitions(1).timestamp_type(None).build();
    let (kafka, topic) = (&case.settings.kafka, case.settings.pipeline.topic.clone());
    let ensured = ensure(kafka, &topic).await.unwrap();
    assert_eq!(ensured.record_time, None);
    let timestamp_type =
        async || observe(kafka, &topic.name).await.unwrap().unwrap().config["message.timestamp.type"].clone();
    assert_eq!(timestamp_type().await, "LogAppendTime");

    // The user of another topic has chosen CreateTime: a pipeline that does not declare it must not alter the topic.
    let case = Case::shared().partitions(1).build();
    let mut topic = case.settings.pipeline.topic.clone();
    let chosen = topic.config.remove("message.timestamp.type").unwrap();
    assert_eq!(ensure(kafka, &case.settings.pipeline.topic).await.unwrap().actions, [Action::Create]);
    let ensured = ensure(kafka, &topic).await.unwrap();
    assert_eq!((ensured.actions, ensured.differences), (vec![], vec![]));
    assert!(ensured.record_time.unwrap().ends_with("so one clock can close windows up to 1h early"));
    assert_eq!(observe(kafka, &topic.name).await.unwrap().unwrap().config["message.timestamp.type"], chosen);
}

#[tokio::test]
async fn rejected_setting_reports_the_reason() {
    let case = Case::shared().partitions(1).build();
    let (kafka, mut topic) = (&case.settings.kafka, case.settings.pipeline.topic.clone());
    settle(kafka, &topic).await;
    topic.config.insert("max.message.bytes".to_owned(), "-7".to_owned());
    let error = ensure(kafka, &topic).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Other);
    assert!(error.message.contains("Kafka rejected the settings of topic") && error.message.contains("-7"), "{error}");
}

#[tokio::test]
async fn recreated_topic_has_another_id() {
    let case = Case::shared().build();
    let (kafka, topic) = (&case.settings.kafka, &case.settings.pipeline.topic);
    let before = ensure(kafka, topic).await.unwrap().description.id;
    case.topic.delete().await;
    retail_testbed::eventually("the topic is gone", async || {
        observe(kafka, &topic.name).await.unwrap().is_none().then_some(())
    })
    .await;
    assert_ne!(ensure(kafka, topic).await.unwrap().description.id, before);
}

#[tokio::test]
async fn log_offsets_return_start_end_and_stable_end() {
    let case = Case::shared().partitions(3).build();
    case.apply_topic().await;
    let send = |partition, n| case.topic.send(&vec![Sent { partition, timestamp: 0, value: Some(b"x".to_vec()) }; n]);
    send(0, 5);
    send(1, 3);
    case.topic.truncate(0, 2).await;
    let commit = case.topic.open_transaction(&[Sent { partition: 1, timestamp: 0, value: None }]);
    let (kafka, name) = (case.settings.kafka.clone(), case.topic.name.clone());
    let ask = move || {
        let admin = KafkaAdmin::new(&kafka).unwrap();
        [LogOffset::Start, LogOffset::End, LogOffset::StableEnd]
            .map(|which| admin.log_offsets(&name, 3, which).unwrap())
    };
    let open = tokio::task::spawn_blocking(ask.clone()).await.unwrap();
    assert_eq!(open, [vec![2, 0, 0], vec![5, 4, 0], vec![5, 3, 0]]);
    tokio::task::spawn_blocking(commit).await.unwrap();
    // The coordinator writes the marker of a committed transaction after it has answered.
    retail_testbed::eventually("the marker is there", async || {
        let ends = tokio::task::spawn_blocking(ask.clone()).await.unwrap();
        (ends == [vec![2, 0, 0], vec![5, 5, 0], vec![5, 5, 0]]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn unreachable_kafka_is_reported_in_one_sentence() {
    let kafka = KafkaConnection::plain("127.0.0.1:1");
    let error = ensure(&kafka, &declared(&[])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    assert!(error.message.starts_with("cannot reach Kafka at 127.0.0.1:1: check that it is running"), "{error}");
    assert!(error.message.contains("Connection refused"), "{error}");
}

/// Kafka counts a dot and an underscore as the same character.
#[tokio::test]
async fn name_that_collides_names_the_other_topic() {
    let case = Case::shared().partitions(1).build();
    let kafka = &case.settings.kafka;
    let dotted = Topic { name: format!("{}.b", case.topic.name), ..case.settings.pipeline.topic.clone() };
    ensure(kafka, &dotted).await.unwrap();
    let underscored = Topic { name: format!("{}_b", case.topic.name), ..dotted.clone() };
    let error = ensure(kafka, &underscored).await.unwrap_err();
    assert!(error.message.contains("choose another topic.name"), "{error}");
    assert!(error.message.contains("collides with") && error.message.contains(&dotted.name), "{error}");
}

#[tokio::test]
async fn topic_that_cannot_be_created_reports_the_reason() {
    let case = Case::shared().build();
    let mut topic = case.settings.pipeline.topic.clone();
    topic.replication_factor = 3;
    let error = ensure(&case.settings.kafka, &topic).await.unwrap_err();
    assert!(error.message.contains("fewer brokers than topic.replicationFactor 3"), "{error}");
    topic.replication_factor = 1;
    topic.config.insert("no.such.setting".to_owned(), "1".to_owned());
    let error = ensure(&case.settings.kafka, &topic).await.unwrap_err();
    assert!(error.message.contains("no.such.setting") && !error.message.contains("LogAppendTime"), "{error}");
    topic.config.remove("message.timestamp.type");
    let error = ensure(&case.settings.kafka, &topic).await.unwrap_err();
    let line = "or message.timestamp.type=LogAppendTime, which new topics get: if it is not allowed, declare \
                `spec.topic.config: {message.timestamp.type: CreateTime}`";
    assert!(error.message.contains(line), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn topic_is_deleted_only_with_its_id() {
    let case = Case::shared().build();
    let (kafka, declared) = (&case.settings.kafka, &case.settings.pipeline.topic);
    let id = topic::ensure(kafka, declared).await.unwrap().description.id;
    assert_eq!(topic::delete(kafka, &declared.name, "another").await, Ok(Removal::NotOurs));
    assert!(topic::observe(kafka, &declared.name).await.unwrap().is_some());
    assert_eq!(topic::delete(kafka, &declared.name, &id).await, Ok(Removal::Removed));
    assert_eq!(topic::delete(kafka, &declared.name, &id).await, Ok(Removal::Absent));
}

/// A client that keeps its connections knows the leader's epoch of before, and brokers refuse it.
#[tokio::test(flavor = "multi_thread")]
async fn log_offsets_are_read_after_a_change_of_epoch() {
    let kafka = Kafka::private();
    let connection = KafkaConnection::plain(kafka.address());
    let topic = Topic { name: "epochs".to_owned(), ..declared(&[]) };
    ensure(&connection, &topic).await.unwrap();
    let admin = KafkaAdmin::new(&connection).unwrap();
    let ends = || admin.log_offsets(&topic.name, 4, LogOffset::End);
    assert_eq!(tokio::task::block_in_place(ends).unwrap(), [0; 4]);
    kafka.kill();
    kafka.start();
    assert_eq!(tokio::task::block_in_place(ends).unwrap(), [0; 4]);
}

#[tokio::test]
async fn broker_lists_its_address_and_the_operations_that_it_allows() {
    let case = Case::shared().build();
    case.apply_topic().await;
    let (kafka, topic) = (case.settings.kafka.clone(), case.topic.name.clone());
    let asked = tokio::task::spawn_blocking(move || {
        let admin = KafkaAdmin::new(&kafka).unwrap();
        let absent = admin.rights(&format!("{topic}-none"), "retail.none").unwrap();
        (admin.brokers(&topic).unwrap(), admin.rights(&topic, "retail.none").unwrap(), absent)
    });
    let (brokers, rights, absent) = asked.await.unwrap();
    let addresses: Vec<String> = brokers.iter().map(|broker| format!("{}:{}", broker.host, broker.port)).collect();
    assert_eq!(addresses, [Kafka::shared().address()]);
    let Allowed::Only(listed) = &rights.topic else { panic!("{rights:?}") };
    use Operation::{Alter, AlterConfigs, Create, Describe, DescribeConfigs, Read, Write};
    assert_eq!(rights.topic.missing(&[Describe, DescribeConfigs, Read, Write, Alter, AlterConfigs]), [], "{listed:?}");
    let Allowed::Only(listed) = &rights.cluster else { panic!("{rights:?}") };
    assert!(listed.contains(&Create), "{listed:?}");
    assert_eq!(absent.topic, Allowed::Unknown, "the topic does not exist");
}
