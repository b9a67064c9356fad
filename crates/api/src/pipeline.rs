//! A pipeline as programs use it: parsed and validated once.

use std::path::Path;
use std::time::Duration;

use retail_engine::{Rules, Span};

use crate::adopt::Adopt;
use crate::duration;
use crate::events::Registry;
use crate::layout::Layout;
use crate::logging::Logging;
use crate::mapping::EventMapping;
use crate::problem::Problems;
use crate::resource::{
    Database, DeadLetters, Deduplicate, Kafka, LateEvents, Processor, Producer, RetailPipeline, RetailPipelineSpec,
    Retention, Topic, Watermark, WhenIdle,
};
use crate::rollup::Rollup;
use crate::validate;
use crate::verify::Verification;

/// A valid RetailPipeline, with the types of the programs that run it.
#[derive(Clone, PartialEq, Debug)]
pub struct Pipeline {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`; `default` if it is omitted.
    pub namespace: String,
    /// Owner of the Postgres schema: the uid of the resource, or `local:namespace/name` outside a cluster.
    pub uid: String,
    /// Owner from which the schema is taken over, if it still belongs to it.
    pub adopt: Option<String>,
    /// Connection to Kafka.
    pub kafka: Kafka,
    /// The topic.
    pub topic: Topic,
    /// The fields of the records; `None` for the tutorial's.
    pub events: Option<EventMapping>,
    /// Names of the dimensions and of the further sums.
    pub layout: Layout,
    /// Time for which the id of an event counts, in whole seconds; `None` without deduplication.
    pub deduplicate_within: Option<Span>,
    /// Window, delay and maxFuture.
    pub rules: Rules,
    /// Time without a new record after which a partition is idle.
    pub idle_timeout: Duration,
    /// Watermark while all partitions are idle.
    pub when_idle: WhenIdle,
    /// Interval between commits.
    pub trigger: Duration,
    /// Handling of late events.
    pub late_events: LateEvents,
    /// Age from which dead letters are deleted.
    pub dead_letter_age: Duration,
    /// Size of the table of dead letters from which the oldest are deleted, in bytes.
    pub dead_letter_bytes: u64,
    /// The database.
    pub database: Database,
    /// The Postgres schema: `database.schema`, or the name of the resource with `_` for `-`.
    pub schema: String,
    /// Simulated purchases; `None` if they are disabled.
    pub producer: Option<Producer>,
    /// Replicas and resources of the processor.
    pub processor: Processor,
    /// Age, in event time, from which months of final rows are dropped; `None` if they are kept.
    pub final_rows_retention: Option<Duration>,
    /// Verifications at regular times.
    pub verify: Option<Verification>,
    /// Views over longer times.
    pub rollups: Vec<Rollup>,
    /// Roles that may read the views.
    pub readers: Vec<String>,
    /// Whether to print the rows of each commit.
    pub print_rows: bool,
    /// Image of the pods; `None` for that of the operator.
    pub image: Option<String>,
    /// Logs of the pods.
    pub logging: Logging,
}

/// A pipeline.yaml that cannot be read or is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// Path of the file.
        path: String,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The file is not a valid pipeline. For each problem, `path:line:column: field: message`, and the line of the file.
    #[error("{}", .problems.0.iter().zip(.snippets).map(|(problem, snippet)| format!("{path}:{problem}{snippet}"))
        .collect::<Vec<_>>().join("\n"))]
    Invalid {
        /// Path of the file.
        path: String,
        /// All problems of the file.
        problems: Problems,
        /// For each problem, its line with a mark below it, each after a line break; empty if the file has no such line.
        snippets: Vec<String>,
    },
}

impl Pipeline {
    /// Reads a pipeline.yaml; `-` is standard input.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        Self::parse_named(&Self::read_text(path)?, path)
    }

    /// The text of a pipeline.yaml; `-` is standard input.
    pub fn read_text(path: &Path) -> Result<String, ReadError> {
        let name = path.display().to_string();
        let text = if name == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
        text.map_err(|source| ReadError::File { path: name, source })
    }

    /// The pipeline in a text that came from `path`.
    pub fn parse_named(text: &str, path: &Path) -> Result<Self, ReadError> {
        Self::parse(text).map_err(|problems| ReadError::Invalid {
            path: path.display().to_string(),
            snippets: problems.0.iter().map(|problem| problem.snippet(text)).collect(),
            problems,
        })
    }

    /// The pipeline in the text of a pipeline.yaml.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        Self::parse_resource(text).map(|(pipeline, _)| pipeline)
    }

    /// As [`parse`](Self::parse), with the resource, for callers that need `suspend` or `deletionPolicy`.
    pub fn parse_resource(text: &str) -> Result<(Self, RetailPipeline), Problems> {
        validate::read(text).map(|resource| (Self::from_valid(resource.clone()), resource))
    }

    /// The schema registry of the records.
    pub fn registry(&self) -> Option<&Registry> {
        self.events.as_ref().and_then(EventMapping::registry)
    }

    /// The patterns name every field of the resource, so that a new field is a compile error until it is handled here.
    fn from_valid(resource: RetailPipeline) -> Self {
        let RetailPipeline { metadata, spec, status: _ } = resource;
        let RetailPipelineSpec {
            kafka,
            topic,
            events,
            deduplicate,
            window,
            watermark: Watermark { delay, idle_timeout, max_future, when_idle },
            trigger,
            late_events,
            dead_letters: DeadLetters { retain, max_bytes },
            database,
            producer,
            processor,
            rollups,
            readers,
            retention,
            verify,
            print_rows,
            image,
            logging,
            // The operator reads these from the resource; the programs do not need them.
            suspend: _,
            paused: _,
            deletion_policy: _,
            adopt,
            operator_class: _,
        } = spec;
        let mut events = events
            .map(|events| EventMapping::new(&events).unwrap_or_else(|_| panic!("the validator checks spec.events")));
        if let (Some(events), None) = (&mut events, &deduplicate) {
            // A record without an id is valid then.
            events.mapping.id = None;
        }
        let name = metadata.name.expect("the validator requires a name");
        let namespace = metadata.namespace.unwrap_or_else(|| "default".to_owned());
        Self {
            uid: metadata.uid.unwrap_or_else(|| format!("local:{namespace}/{name}")),
            adopt: adopt.map(|Adopt { uid }| uid),
            kafka,
            topic,
            layout: events.as_ref().map_or_else(Layout::default, |events| events.layout.clone()),
            events,
            deduplicate_within: deduplicate.map(|Deduplicate { within }| duration::parse(&within).into()),
            rules: Rules {
                window: duration::parse(&window).into(),
                delay: duration::parse(&delay).into(),
                max_future: duration::parse(&max_future).into(),
            },
            idle_timeout: duration::parse(&idle_timeout),
            when_idle,
            trigger: duration::parse(&trigger),
            late_events,
            dead_letter_age: duration::parse_days(&retain),
            dead_letter_bytes: bytes(&max_bytes),
            schema: database.schema.clone().unwrap_or_else(|| name.replace('-', "_")),
            database,
            producer: producer.filter(|producer| producer.enabled),
            processor,
            final_rows_retention: retention.map(|Retention { final_rows }| duration::parse_days(&final_rows)),
            verify: verify.map(Verification::from_valid),
            rollups: rollups.into_iter().map(Rollup::from_valid).collect(),
            readers,
            print_rows,
            image,
            logging,
            name,
            namespace,
        }
    }
}

/// Parses a size that matches the pattern of the schema, such as `1Gi`.
fn bytes(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.len() - 2);
    let number: u64 = number.parse().expect("the schema only accepts numbers");
    number << if unit == "Gi" { 30 } else { 20 }
}
