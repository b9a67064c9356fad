//! The preconditions in Kafka.

use std::collections::BTreeMap;
use std::time::Duration;

use retail_api::{Pipeline, duration};
use retail_connection::probe::{client_certificate, handshake};
use retail_engine::Record;
use retail_kafka::deduplication::{self, Unsuitable};
use retail_kafka::topic::{self, Action, Observed};
use retail_kafka::{KafkaAdmin, KafkaConnection, KafkaError, record_time, tail};
use retail_runtime::args::Settings;
use retail_sample::{Reporter, Summary};

use super::check::{Check, Outcome};
use super::kind::KAFKA;
use super::layers::{self, Resolved};
use super::server::Server;
use super::tls::{self, Failure, Looks};
use super::{acls, brokers};
use crate::schemas::FoundSchemas;

/// Number of records in the sample.
const SAMPLE: usize = 100;

/// Looks at the layers, asks the brokers, and checks the topic.
pub(super) async fn checks(settings: &Settings, found: &mut Vec<Check>) {
    let kafka = &settings.kafka;
    let Some(open) = layers::reach(&KAFKA, Server::parse_list(&kafka.bootstrap_servers), found).await else { return };
    let name = settings.pipeline.topic.name.clone();
    let topic = name.clone();
    let (looks, brokers) =
        tokio::join!(look_at_tls(kafka, open.clone()), ask(kafka, move |admin| admin.brokers(&topic)));
    let failure = brokers.as_ref().err().map(|error| Failure { kind: error.kind, message: error.message.clone() });
    let client = kafka.security.tls.as_ref().and_then(client_certificate);
    let (of_tls, is_blamed) = tls::of_tls(&KAFKA, &looks, client.as_ref(), failure.as_ref());
    found.push(of_tls);
    if is_blamed {
        found.push(KAFKA.not_looked_at(KAFKA.tls, ""));
        return;
    }
    let brokers = match brokers {
        Ok(brokers) => brokers,
        Err(error) => return found.push(Check::fail("kafka", error)),
    };
    let login = kafka.security.sasl.as_ref();
    let login = login.map_or_else(String::new, |login| format!(", and accepts the log-in of {}", login.username));
    found.push(Check::ok("kafka", format_args!("{} answers{login}", kafka.bootstrap_servers)));
    let advertised = brokers::check(brokers, &open).await;
    let is_reached = advertised.outcome != Outcome::Fail;
    found.push(advertised);
    if !is_reached {
        return found.push(Check::skip("topic", "not looked at, because brokers failed: ACLs, topic, records"));
    }
    of_reached(settings, name, found).await;
}

/// The checks that need all brokers.
async fn of_reached(settings: &Settings, name: String, found: &mut Vec<Check>) {
    let (pipeline, kafka) = (&settings.pipeline, &settings.kafka);
    let topic = name.clone();
    match ask(kafka, move |admin| admin.rights(&topic, &acls::example_group())).await {
        Ok(rights) => {
            let acls = acls::check(pipeline, kafka, &rights);
            let is_allowed = acls.outcome != Outcome::Fail;
            found.push(acls);
            if !is_allowed {
                return found.push(Check::skip("topic", "not looked at, because acls failed: topic, records"));
            }
        }
        // The group coordinator can be away. The checks that follow need no group.
        Err(error) => found.push(Check::warn("acls", format_args!("the brokers do not list them: {error}"))),
    }
    let observed = match topic::observe(kafka, &name).await {
        Ok(Some(observed)) => observed,
        Ok(None) => return found.push(Check::fail("topic", KafkaError::missing_topic(&name))),
        Err(error) => return found.push(Check::fail("topic", error)),
    };
    found.extend(of_topic(pipeline, &observed));
    let connection = kafka.clone();
    let reading = tokio::task::spawn_blocking(move || tail::read(&connection, &name, SAMPLE));
    found.push(match reading.await.expect("reading a sample does not panic") {
        Ok(tail) => {
            let (summary, problem) = sampled(pipeline, settings, &tail).await;
            match problem {
                Some(problem) => Check::fail("records", problem),
                None => of_sample(&summary),
            }
        }
        Err(error) => Check::fail("records", error),
    });
}

async fn look_at_tls(kafka: &KafkaConnection, open: Vec<Resolved>) -> Looks {
    let certificates = kafka.security.tls.clone()?;
    let own = certificates.clone();
    let shake = move |stream, host: String| {
        let own = own.clone();
        async move { handshake(stream, &host, &own, layers::STEP).await }
    };
    tls::look_at(open, &certificates, (true, true), shake).await
}

/// A request by a client of its own, on a thread that may block.
async fn ask<T: Send + 'static>(
    kafka: &KafkaConnection,
    question: impl FnOnce(&KafkaAdmin) -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    let kafka = kafka.clone();
    let asked = tokio::task::spawn_blocking(move || question(&KafkaAdmin::new(&kafka)?));
    asked.await.expect("a request to Kafka does not panic")
}

/// The summary of some records, and why a schema of theirs was not found.
async fn sampled(pipeline: &Pipeline, settings: &Settings, tail: &[tail::TailRecord]) -> (Summary, Option<String>) {
    let mut reporter = Reporter::new(pipeline.events.as_ref());
    let mut problem = None;
    if let Some(registry) = &settings.registry {
        let records: Vec<Record<'_>> = tail.iter().map(record).collect();
        let schemas = FoundSchemas::find(&reporter, records, registry, Some(&settings.database)).await;
        schemas.teach(&mut reporter);
        problem = schemas.problem;
    }
    let reports: Vec<_> = tail.iter().map(|tail| reporter.report(&record(tail))).collect();
    (Summary::of(&reports), problem)
}

fn record(record: &tail::TailRecord) -> Record<'_> {
    let tail::TailRecord { partition: _, offset, timestamp, value, schema } = record;
    Record { offset: *offset, timestamp: *timestamp, value: value.as_deref(), schema: schema.as_deref() }
}

fn of_topic(pipeline: &Pipeline, observed: &Observed) -> Vec<Check> {
    let partitions = observed.description.partitions;
    let replicas = pipeline.processor.most_replicas();
    let workers = match replicas > partitions {
        true => Check::warn(
            "workers",
            format_args!("{replicas} processors for {partitions} partitions: {} stay idle", replicas - partitions),
        )
        .fixed_by("raise topic.partitions, or lower processor.replicas"),
        false => Check::ok("workers", format_args!("{partitions} partitions for {replicas} processors")),
    };
    let record_time = record_time::warning(&observed.config).map_or_else(
        || Check::ok("record timestamps", "the brokers set them"),
        |warning| {
            Check::warn("record timestamps", warning)
                .fixed_by("declare topic.config message.timestamp.type: LogAppendTime, unless the records are loaded from elsewhere")
        },
    );
    vec![declared(pipeline, observed), workers, record_time, retention(pipeline, &observed.config)]
}

fn declared(pipeline: &Pipeline, observed: &Observed) -> Check {
    let (actions, differences) = topic::plan(&pipeline.topic, Some(observed));
    let changes = actions.iter().flat_map(|action| match action {
        Action::Create => vec!["missing".to_owned()],
        Action::Grow { from, to } => vec![format!("{from} partitions, not {to}")],
        Action::Alter(settings) => settings.iter().map(ToString::to_string).collect(),
    });
    let changes: Vec<String> = changes.collect();
    if !changes.is_empty() {
        return Check::warn("topic", format_args!("not as declared: {}", changes.join(", ")))
            .fixed_by("retail apply-topic");
    }
    let differences: Vec<String> = differences.iter().map(ToString::to_string).collect();
    match differences.is_empty() {
        true => Check::ok("topic", format_args!("{} partitions, as declared", observed.description.partitions)),
        false => Check::warn("topic", differences.join(", ")),
    }
}

/// Whether Kafka keeps records until they have been processed, and until their ids do not count any more.
fn retention(pipeline: &Pipeline, config: &BTreeMap<String, String>) -> Check {
    if let Some(problem) =
        pipeline.deduplicate_within.and_then(|within| deduplication::unsuitable(config, within.into()))
    {
        return match problem {
            Unsuitable::Compacted => Check::fail("retention", problem),
            Unsuitable::ShortRetention { .. } => {
                Check::warn("retention", problem).fixed_by("raise retention.ms of the topic")
            }
        };
    }
    // A negative value has no limit.
    let millis: Option<u64> = config.get("retention.ms").and_then(|millis| millis.trim().parse().ok());
    let Some(retention) = millis.map(Duration::from_millis) else {
        return Check::ok("retention", "records are kept without a limit of time");
    };
    let (delay, kept) = (Duration::from(pipeline.rules.delay), duration::approximate(retention));
    match retention < delay {
        true => Check::warn(
            "retention",
            format_args!("Kafka deletes records after {kept}, before their windows close: `retail verify` and `retail explain` lack them"),
        )
        .fixed_by("raise retention.ms of the topic"),
        false => Check::ok("retention", format_args!("Kafka keeps records for {kept}: a processor may be down for as long")),
    }
}

fn of_sample(summary: &Summary) -> Check {
    let invalid = summary.fates.get("invalid").copied().unwrap_or_default();
    let read = format!("{} of the newest {} records are invalid", invalid, summary.records);
    match (summary.records, invalid) {
        (0, _) => Check::ok("records", "can be read; the topic has none yet"),
        (_, 0) => Check::ok("records", format_args!("all of the newest {} are understood", summary.records)),
        (records, invalid) if invalid * 2 > records => {
            Check::fail("records", read).fixed_by("retail sample shows the causes, and proposes spec.events")
        }
        _ => Check::warn("records", read).fixed_by("retail sample shows the causes"),
    }
}

#[cfg(test)]
mod tests {
    use retail_kafka::TopicDescription;

    use super::*;

    fn pipeline(spec: &str) -> Pipeline {
        let yaml = format!(
            "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: shop}}\nspec:\n  \
             kafka: {{bootstrapServers: \"k:9092\"}}\n  topic: {{name: t, partitions: 4}}\n  database: {{host: p, name: d}}\n{spec}"
        );
        Pipeline::parse(&yaml).unwrap()
    }

    fn outcomes(pipeline: &Pipeline, partitions: i32, config: &[(&str, &str)]) -> Vec<(&'static str, Outcome, bool)> {
        let description = TopicDescription { id: "a".to_owned(), partitions, replication_factor: 1 };
        let config = config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let checks = of_topic(pipeline, &Observed { description, config });
        checks.into_iter().map(|check| (check.name, check.outcome, check.fix.is_some())).collect()
    }

    #[test]
    fn topic_as_declared_is_ok_and_each_deviation_has_a_fix() {
        use Outcome::{Fail, Ok, Warn};
        let good = [("message.timestamp.type", "LogAppendTime"), ("retention.ms", "604800000")];
        assert_eq!(
            outcomes(&pipeline(""), 4, &good),
            ["topic", "workers", "record timestamps", "retention"].map(|name| (name, Ok, false))
        );
        let bad = [("message.timestamp.type", "CreateTime"), ("retention.ms", "60000")];
        assert_eq!(
            outcomes(&pipeline("  processor: {replicas: 4}\n"), 3, &bad),
            ["topic", "workers", "record timestamps", "retention"].map(|name| (name, Warn, true))
        );
        let dedup = pipeline("  deduplicate: {within: 2h}\n");
        assert_eq!(outcomes(&dedup, 4, &[("cleanup.policy", "compact")])[3], ("retention", Fail, false));
        assert_eq!(outcomes(&dedup, 4, &[("retention.ms", "3600000")])[3], ("retention", Warn, true));
        assert_eq!(outcomes(&dedup, 4, &[("retention.ms", "-1")])[3], ("retention", Ok, false));
    }

    #[test]
    fn sample_with_mostly_invalid_records_fails() {
        let summary =
            |records, invalid| Summary { records, fates: BTreeMap::from([("invalid", invalid)]), ..Summary::default() };
        for (records, invalid, outcome) in [
            (0, 0, Outcome::Ok),
            (10, 0, Outcome::Ok),
            (10, 1, Outcome::Warn),
            (10, 5, Outcome::Warn),
            (10, 6, Outcome::Fail),
        ] {
            assert_eq!(of_sample(&summary(records, invalid)).outcome, outcome, "{invalid} of {records}");
        }
    }
}
