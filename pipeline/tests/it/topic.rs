//! The topic, made and grown on a real broker.

use std::collections::BTreeMap;

use retail_pipeline::kafka::topic::{Action, Difference, Observed, ensure, observe, plan};
use retail_pipeline::kafka::{Cluster, Explained, KafkaConnection, LogOffset, TopicDescription};
use retail_pipeline::resource::Topic;
use retail_testbed::{Case, Sent};

fn declared(config: &[(&str, &str)]) -> Topic {
    let config = config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Topic { name: "t".to_owned(), partitions: 4, replication_factor: 1, config }
}

fn observed(partitions: i32, replication_factor: i32) -> Observed {
    let description = TopicDescription { id: "id".to_owned(), partitions, replication_factor };
    Observed { description, config: BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]) }
}

#[test]
fn a_plan_says_what_is_done_and_what_is_only_reported() {
    let topic = declared(&[("retention.ms", "5")]);
    assert_eq!(plan(&topic, None), (Some(Action::Create), vec![]));
    assert_eq!(plan(&topic, Some(&observed(4, 1))), (None, vec![]));
    assert_eq!(plan(&topic, Some(&observed(3, 1))), (Some(Action::Grow { from: 3, to: 4 }), vec![]));
    let topic = declared(&[("retention.ms", "6"), ("retention.m", "6")]);
    let (action, differences) = plan(&topic, Some(&observed(5, 3)));
    assert_eq!(action, None);
    let differences: Vec<String> = differences.iter().map(Difference::to_string).collect();
    assert_eq!(
        differences,
        [
            "it has 5 partitions and not 4 as declared",
            "its replication factor is 3 and not 1 as declared",
            "retention.m, declared as 6, is no setting of a topic",
            "retention.ms is 5 and not 6 as declared",
        ]
    );
}

#[tokio::test]
async fn a_topic_is_created_with_its_settings_grown_and_then_left_alone() {
    let case = Case::shared().partitions(3).build();
    let (kafka, mut topic) = (&case.settings.kafka, case.settings.pipeline.topic.clone());
    assert_eq!(observe(kafka, &topic.name).await.unwrap(), None);

    let created = ensure(kafka, &topic).await.unwrap();
    assert_eq!((created.action, created.description.partitions), (Some(Action::Create), 3));
    assert_eq!(observe(kafka, &topic.name).await.unwrap().unwrap().config["retention.ms"], "-1");
    assert_eq!(ensure(kafka, &topic).await.unwrap().action, None);

    topic.partitions = 5;
    topic.config.insert("retention.ms".to_owned(), "1000".to_owned());
    let grown = ensure(kafka, &topic).await.unwrap();
    assert_eq!((grown.action, grown.description.partitions), (Some(Action::Grow { from: 3, to: 5 }), 5));
    assert_eq!(grown.description.id, created.description.id);
    assert_eq!(grown.differences.len(), 1, "{:?}", grown.differences);
}

#[tokio::test]
async fn a_topic_made_again_has_another_id() {
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
async fn log_ends_tell_what_is_there_what_is_committed_and_what_is_gone() {
    let case = Case::shared().partitions(3).build();
    case.apply_topic().await;
    let send = |partition, n| case.topic.send(&vec![Sent { partition, timestamp: 0, value: Some(b"x".to_vec()) }; n]);
    send(0, 5);
    send(1, 3);
    case.topic.truncate(0, 2).await;
    let commit = case.topic.open_transaction(&[Sent { partition: 1, timestamp: 0, value: None }]);
    let (kafka, name) = (case.settings.kafka.clone(), case.topic.name.clone());
    let ask = move || {
        let cluster = Cluster::new(&kafka).unwrap();
        [LogOffset::Start, LogOffset::End, LogOffset::StableEnd]
            .map(|which| cluster.log_offsets(&name, 3, which).unwrap())
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
async fn a_kafka_that_is_not_there_is_said_in_one_sentence() {
    let kafka = KafkaConnection::plain("127.0.0.1:1");
    let error = ensure(&kafka, &declared(&[])).await.unwrap_err();
    assert_eq!(error.kind, Explained::Unreachable, "{error}");
    assert!(error.message.starts_with("cannot reach Kafka at 127.0.0.1:1: is it running"), "{error}");
    assert!(error.message.contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn a_topic_that_cannot_be_made_says_why() {
    let case = Case::shared().build();
    let mut topic = case.settings.pipeline.topic.clone();
    topic.replication_factor = 3;
    let error = ensure(&case.settings.kafka, &topic).await.unwrap_err();
    assert!(error.message.contains("fewer brokers than topic.replicationFactor 3"), "{error}");
    topic.replication_factor = 1;
    topic.config.insert("no.such.setting".to_owned(), "1".to_owned());
    let error = ensure(&case.settings.kafka, &topic).await.unwrap_err();
    assert!(error.message.contains("no.such.setting"), "{error}");
}
