//! A pipeline as programs use it: read once, checked once, with nothing left that could be wrong.

use std::path::Path;
use std::time::Duration;

use retail_engine::Rules;

use crate::duration;
use crate::resource::{
    Database, Kafka, LateEvents, Processor, Producer, RetailPipeline, RetailPipelineSpec, Topic, Watermark, WhenIdle,
};
use crate::validate::{self, Problems};

/// A valid RetailPipeline, in the terms of the programs that run it.
#[derive(Clone, PartialEq, Debug)]
pub struct Pipeline {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`, or default.
    pub namespace: String,
    /// Who owns the Postgres schema: the resource's uid, or `local:namespace/name` where there is no API server.
    pub uid: String,
    /// The Kafka cluster.
    pub kafka: Kafka,
    /// The topic.
    pub topic: Topic,
    /// Window, delay and maxFuture.
    pub rules: Rules,
    /// After how long without a new record a partition is idle.
    pub idle_timeout: Duration,
    /// What the watermark does when all partitions are idle.
    pub when_idle: WhenIdle,
    /// How often deltas are committed.
    pub trigger: Duration,
    /// What becomes of late events.
    pub late_events: LateEvents,
    /// The database.
    pub database: Database,
    /// The Postgres schema: `database.schema`, or the resource's name with `-` as `_`.
    pub schema: String,
    /// Simulated purchases, if they are enabled.
    pub producer: Option<Producer>,
    /// The processor's size.
    pub processor: Processor,
    /// Whether each trigger's rows are printed.
    pub print_rows: bool,
}

/// Why there is no pipeline.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// As it was given.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a valid pipeline. One line for each problem, `path:line:column: field: message`.
    #[error("{}", .problems.0.iter().map(|problem| format!("{path}:{problem}")).collect::<Vec<_>>().join("\n"))]
    Invalid {
        /// As it was given.
        path: String,
        /// Everything that is wrong.
        problems: Problems,
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
        Self::parse(text).map_err(|problems| ReadError::Invalid { path: path.display().to_string(), problems })
    }

    /// The pipeline in the text of a pipeline.yaml.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        Self::parse_resource(text).map(|(pipeline, _)| pipeline)
    }

    /// The same, with the resource itself, for whoever needs what no program reads: suspend, deletionPolicy.
    pub fn parse_resource(text: &str) -> Result<(Self, RetailPipeline), Problems> {
        validate::read(text).map(|resource| (Self::from_valid(resource.clone()), resource))
    }

    /// Every field of the resource is named here, so that a new one is a compile error until it is decided what it means.
    fn from_valid(resource: RetailPipeline) -> Self {
        let RetailPipeline { metadata, spec, status: _ } = resource;
        let RetailPipelineSpec {
            kafka,
            topic,
            window,
            watermark: Watermark { delay, idle_timeout, max_future, when_idle },
            trigger,
            late_events,
            database,
            producer,
            processor,
            print_rows,
            // The operator reads these two from the resource; the programs do not need them.
            suspend: _,
            deletion_policy: _,
        } = spec;
        let name = metadata.name.expect("the validator wants a name");
        let namespace = metadata.namespace.unwrap_or_else(|| "default".to_owned());
        Self {
            uid: metadata.uid.unwrap_or_else(|| format!("local:{namespace}/{name}")),
            kafka,
            topic,
            rules: Rules {
                window: duration::parse(&window).into(),
                delay: duration::parse(&delay).into(),
                max_future: duration::parse(&max_future).into(),
            },
            idle_timeout: duration::parse(&idle_timeout),
            when_idle,
            trigger: duration::parse(&trigger),
            late_events,
            schema: database.schema.clone().unwrap_or_else(|| name.replace('-', "_")),
            database,
            producer: producer.filter(|producer| producer.enabled),
            processor,
            print_rows,
            name,
            namespace,
        }
    }
}
