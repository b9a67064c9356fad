//! What the faults of a round play on: servers, processors, and the pipeline between them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use retail_testbed::{Case, Pooler};

use crate::dump::Rules;
use crate::feeder::{Feed, Feeder};
use crate::observer::Observer;
use crate::processors::{Recipe, Slot, readyz};
use crate::schedule::Schedule;
use crate::servers::Servers;
use crate::tap::Tap;
use crate::writers::Writers;

/// A round in progress.
pub(crate) struct Stage {
    /// The servers.
    pub servers: Arc<Servers>,
    /// The schedule.
    pub schedule: Schedule,
    /// The pipeline, with the present primary, without lanes.
    direct: Mutex<Case>,
    /// How processors are started.
    pub recipe: Recipe,
    /// The processors.
    pub slots: Vec<Slot>,
    /// The pooler in front of Postgres, if the round has one.
    pub pooler: Option<tokio::sync::Mutex<Pooler>>,
    /// The producer.
    pub feeder: Feeder,
    /// The writers of its records in Avro.
    pub writers: Writers,
    /// The plain consumer.
    pub tap: Tap,
    /// The rules of records that the trial has deleted.
    deleted_rules: Mutex<Rules>,
    observer: Observer,
}

/// The parts of a stage that begin with it.
pub(crate) struct Parts {
    /// The pipeline, with the present primary, without lanes.
    pub case: Case,
    /// How processors are started.
    pub recipe: Recipe,
    /// The processors.
    pub slots: Vec<Slot>,
    /// The pooler.
    pub pooler: Option<Pooler>,
    /// The producer.
    pub feeder: Feeder,
    /// The writers of its records in Avro.
    pub writers: Writers,
    /// The plain consumer.
    pub tap: Tap,
    /// Asks Postgres, without lanes.
    pub observer: Observer,
}

impl Stage {
    /// A stage of these parts.
    pub(crate) fn new(servers: Arc<Servers>, schedule: Schedule, parts: Parts) -> Self {
        let Parts { case, recipe, slots, pooler, feeder, writers, tap, observer } = parts;
        let (direct, pooler) = (Mutex::new(case), pooler.map(tokio::sync::Mutex::new));
        let deleted_rules = Mutex::default();
        Self { servers, schedule, direct, recipe, slots, pooler, feeder, writers, tap, deleted_rules, observer }
    }

    /// The pipeline with the present primary, without lanes.
    pub(crate) fn case(&self) -> Case {
        self.direct.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The primary is at this URL from now on.
    pub(crate) fn point_to(&self, url: &str) {
        let mut direct = self.direct.lock().unwrap_or_else(PoisonError::into_inner);
        *direct = direct.with_database(url);
    }

    /// The records that the producers of this round send.
    pub(crate) fn feed(&self) -> Feed {
        Feed::of(&self.schedule, &self.servers.internal, &self.topic(), self.writers.clone())
    }

    /// Begins with an empty schema again.
    pub(crate) fn forget_rules(&self) {
        self.deleted_rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Keeps the rules of a partition whose records before an offset are about to be deleted.
    pub(crate) fn keep_rules(&self, partition: i32, before: i64, rules: Rules) {
        let mut kept = self.deleted_rules.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(rules.into_iter().filter(|((of, offset), _)| *of == i64::from(partition) && *offset < before));
    }

    /// The rules that were kept.
    pub(crate) fn kept_rules(&self) -> Rules {
        self.deleted_rules.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends all processors.
    pub(crate) async fn stop_processors(&self) {
        for slot in &self.slots {
            if let Some(program) = slot.program.lock().await.take() {
                self.recipe.kill(program).await;
            }
        }
    }

    /// Starts the processors that do not run.
    pub(crate) async fn start_processors(&self) {
        for slot in &self.slots {
            let mut running = slot.program.lock().await;
            if let Some(mut program) = running.take() {
                if program.try_wait().is_none() {
                    *running = Some(program);
                    continue;
                }
                self.recipe.archive(&program);
            }
            *running = Some(slot.next(&self.recipe, None));
        }
    }

    /// The name of the topic, which is also that of the pipeline.
    pub(crate) fn topic(&self) -> String {
        self.case().topic.name
    }

    /// The single value of a query as text; `None` if Postgres does not answer in time.
    pub(crate) async fn text(&self, sql: &str) -> Option<String> {
        self.observer.text(self.case().database_url(), sql).await
    }

    /// Whether a condition in SQL is true. False without an answer.
    pub(crate) async fn is(&self, condition: &str) -> bool {
        self.text(condition).await.as_deref() == Some("true")
    }

    /// Whether a worker waits for a schema.
    pub(crate) async fn waits_for_schema(&self) -> bool {
        for slot in &self.slots {
            // A fault may hold a processor for long.
            if let Ok(program) = slot.program.try_lock()
                && let Some(program) = program.as_ref()
                && readyz(program).await.is_ok_and(|(_, body)| body.contains("records wait for schema"))
            {
                return true;
            }
        }
        false
    }

    /// The number of committed offsets.
    pub(crate) async fn committed(&self) -> Option<i64> {
        self.text("SELECT coalesce(sum(next_offset), 0) FROM partition_progress").await?.parse().ok()
    }
}

/// Repeats `ask` until it is true. False after `limit`.
pub(crate) async fn soon(limit: Duration, mut ask: impl AsyncFnMut() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if ask().await {
            return true;
        }
        if began.elapsed() > limit {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Like [`soon`], with an error that names the missing observation.
pub(crate) async fn seen(limit: Duration, what: &str, ask: impl AsyncFnMut() -> bool) -> Result<()> {
    anyhow::ensure!(soon(limit, ask).await, "not seen within {limit:?}: {what}");
    Ok(())
}
