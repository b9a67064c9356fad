//! The rights of the Kafka user on the topic and on consumer groups.

use retail_api::Pipeline;
use retail_api::topic::TopicManagement;
use retail_connection::probe::client_certificate;
use retail_kafka::{Allowed, KafkaConnection, Operation, Rights};

use super::check::Check;

/// The prefix of the consumer groups of all pipelines. The group of a pipeline is known only after its schema was created.
const GROUPS: &str = "retail.";

/// Operations of a processor on the topic.
const READS: [Operation; 3] = [Operation::Describe, Operation::DescribeConfigs, Operation::Read];

/// Operations of the operator and of `retail apply-topic` on a topic that exists.
const CHANGES: [Operation; 2] = [Operation::Alter, Operation::AlterConfigs];

/// A group of the prefix, which no processor joins.
pub(super) fn example_group() -> String {
    format!("{GROUPS}doctor")
}

pub(super) fn check(pipeline: &Pipeline, kafka: &KafkaConnection, rights: &Rights) -> Check {
    let topic = &pipeline.topic.name;
    let sends = pipeline.producer.is_some().then_some(Operation::Write);
    let needed: Vec<Operation> = READS.into_iter().chain(sends).collect();
    let (of_topic, of_group) = (rights.topic.missing(&needed), rights.group.missing(&[Operation::Read]));
    let user = principal(kafka);
    let command = |operations: &[Operation], resource: &str| {
        let operations: Vec<String> = operations.iter().map(|one| format!("--operation {one}")).collect();
        format!(
            "kafka-acls.sh --bootstrap-server {} --add --allow-principal \"{user}\" {} {resource}",
            kafka.bootstrap_servers,
            operations.join(" ")
        )
    };
    let mut problems = Vec::new();
    let mut commands = Vec::new();
    if !of_topic.is_empty() {
        let unseen = if of_topic.contains(&Operation::Describe) { ", or the topic does not exist" } else { "" };
        problems.push(format!("{} on topic {topic}{unseen}", names(&of_topic)));
        commands.push(command(&of_topic, &format!("--topic {topic}")));
    }
    if !of_group.is_empty() {
        problems.push(format!("{} on groups that begin with {GROUPS}", names(&of_group)));
        commands.push(command(&of_group, &format!("--group {GROUPS} --resource-pattern-type prefixed")));
    }
    if !problems.is_empty() {
        return Check::fail("acls", format_args!("{user} lacks {}", problems.join("; "))).fixed_by(commands.join("; "));
    }
    // The rights on a topic that does not exist are not listed.
    let to_create = rights.cluster.missing(&[Operation::Create]);
    if pipeline.topic.management != TopicManagement::Use && rights.topic == Allowed::Unknown && !to_create.is_empty() {
        return Check::warn("acls", format_args!("{user} may create topics only with Create on their names"))
            .fixed_by(command(&to_create, &format!("--topic {topic}")));
    }
    let to_change = rights.topic.missing(&CHANGES);
    if pipeline.topic.management != TopicManagement::Use && !to_change.is_empty() {
        return Check::warn(
            "acls",
            format_args!(
                "{user} can read the topic, and lacks {}, which retail apply-topic and the operator need",
                names(&to_change)
            ),
        )
        .fixed_by(command(&to_change, &format!("--topic {topic}")));
    }
    Check::ok("acls", format_args!("{user} has all operations that the brokers list"))
}

fn names(operations: &[Operation]) -> String {
    operations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The name of the user in ACLs, unless the brokers have rules of their own for it.
fn principal(kafka: &KafkaConnection) -> String {
    let security = &kafka.security;
    let certificate = || security.tls.as_ref().and_then(client_certificate);
    match &security.sasl {
        Some(login) => format!("User:{}", login.username),
        None => certificate().map_or_else(|| "User:ANONYMOUS".to_owned(), |facts| format!("User:{}", facts.subject)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Outcome;
    use super::*;

    #[test]
    fn each_missing_operation_has_a_command() {
        let yaml = |spec: &str| {
            format!(
                "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: shop}}\nspec:\n  kafka: \
                 {{bootstrapServers: \"k:9092\"}}\n  topic: {{name: t{spec}}}\n  database: {{host: p, name: d}}\n  producer: {{enabled: false}}\n"
            )
        };
        let managed = Pipeline::parse(&yaml("")).unwrap();
        let used = Pipeline::parse(&yaml(", management: Use")).unwrap();
        let kafka = KafkaConnection::plain("k:9092");
        let check = |pipeline: &Pipeline, topic: &[Operation], group: Allowed| {
            let rights = Rights { cluster: Allowed::Only(Vec::new()), topic: Allowed::Only(topic.to_vec()), group };
            let Check { outcome, detail, fix, .. } = super::check(pipeline, &kafka, &rights);
            (outcome, detail, fix.unwrap_or_default())
        };
        let read = || Allowed::Only(vec![Operation::Describe, Operation::Read]);
        let (outcome, detail, fix) = check(&managed, &[Operation::Describe], Allowed::Only(Vec::new()));
        assert_eq!(outcome, Outcome::Fail);
        assert_eq!(
            detail,
            "User:ANONYMOUS lacks DescribeConfigs, Read on topic t; Read on groups that begin with retail."
        );
        let add = "kafka-acls.sh --bootstrap-server k:9092 --add --allow-principal \"User:ANONYMOUS\"";
        let group = format!("{add} --operation Read --group retail. --resource-pattern-type prefixed");
        assert_eq!(fix, format!("{add} --operation DescribeConfigs --operation Read --topic t; {group}"));
        let (outcome, detail, _) = check(&managed, &READS, read());
        assert!(outcome == Outcome::Warn && detail.contains("lacks Alter, AlterConfigs"), "{detail}");
        assert_eq!(check(&used, &READS, read()).0, Outcome::Ok);
        assert_eq!(check(&used, &READS, Allowed::Unknown).0, Outcome::Ok);
        assert_eq!(
            check(&managed, &[READS, [CHANGES[0], CHANGES[1], Operation::Write]].concat(), read()).0,
            Outcome::Ok
        );
        let create = |pipeline: &Pipeline, cluster: &[Operation]| {
            let rights =
                Rights { cluster: Allowed::Only(cluster.to_vec()), topic: Allowed::Unknown, group: Allowed::Unknown };
            super::check(pipeline, &kafka, &rights)
        };
        let without = create(&managed, &[]);
        assert_eq!(
            (without.outcome, without.fix),
            (Outcome::Warn, Some(format!("{add} --operation Create --topic t")))
        );
        assert_eq!(
            [create(&used, &[]), create(&managed, &[Operation::Create])].map(|check| check.outcome),
            [Outcome::Ok; 2]
        );
    }
}
