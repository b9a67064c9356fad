//! The problems of a pipeline, each with its fix.

use std::time::Duration;

use retail_store::progress::Progress;

use crate::format::{between, count, span, time};
use crate::state::{Contribution, State};

/// Time beyond two triggers after which unprocessed records are a problem.
const BEHIND: Duration = Duration::from_secs(30);

/// A problem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Problem {
    /// The problem as a sentence without a full stop.
    pub(crate) text: String,
    /// What to do about it; empty if `text` includes it.
    pub(crate) fix: &'static str,
}

impl Problem {
    const fn new(text: String, fix: &'static str) -> Self {
        Self { text, fix }
    }
}

/// The problems, those of the servers first.
pub(crate) fn problems(state: &State<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(error) = state.error {
        let age = state.snapshot().map(|snapshot| time(snapshot.taken_at));
        let age = age.map(|age| format!("; this page shows the state of {age}")).unwrap_or_default();
        problems.push(Problem::new(format!("Postgres: {error}{age}"), ""));
    }
    if let Some(Err(error)) = state.logs {
        problems.push(Problem::new(format!("Kafka: {error}"), ""));
    }
    problems.extend(partitions(state));
    problems.extend(state.snapshot().into_iter().flat_map(|snapshot| recorded(&snapshot.progress)));
    if state.facts.is_some_and(|facts| !facts.balanced) {
        let text = "the fates of a partition do not add up to its offsets".to_owned();
        problems.push(Problem::new(text, "Run retail verify: it names each difference."));
    }
    problems
}

/// Partitions that nothing processes.
fn partitions(state: &State<'_>) -> Vec<Problem> {
    let Some(snapshot) = state.snapshot() else { return Vec::new() };
    let all = state.partitions();
    let mut problems = Vec::new();
    let unclaimed: Vec<String> = all
        .iter()
        .filter(|partition| partition.contribution == Contribution::Unclaimed)
        .map(|partition| partition.number.to_string())
        .collect();
    if !unclaimed.is_empty() {
        let text = format!("no processor has read partition {} yet", unclaimed.join(", "));
        problems.push(Problem::new(text, "Check that a processor runs, and that its /readyz reports no problem."));
    }
    let patience = 2 * state.pipeline.trigger + BEHIND;
    for partition in all {
        let pause = partition.last_commit.map(|commit| between(commit, snapshot.taken_at));
        let lag = partition.lag.unwrap_or_default();
        if partition.contribution == Contribution::Unclaimed || lag == 0 || pause.is_some_and(|pause| pause <= patience)
        {
            continue;
        }
        let ago = pause.map_or_else(|| "never".to_owned(), |pause| format!("{} ago", span(pause)));
        let owner = partition.owner.map(|owner| format!(" by {owner}")).unwrap_or_default();
        problems.push(Problem::new(
            format!(
                "partition {}: {} records are not processed, and its last commit was {ago}{owner}",
                partition.number,
                count(lag)
            ),
            "Check that a processor runs, and that its /readyz reports no problem.",
        ));
    }
    problems
}

/// The problems that processors have recorded.
fn recorded(progress: &Progress) -> Vec<Problem> {
    let Progress { clock_ahead, close_failure, hold, deduplication_incomplete, rejection, .. } = progress;
    let mut problems = Vec::new();
    if let Some(micros) = clock_ahead {
        let text = format!(
            "no window closes, because the clock of this machine is {} s ahead of that of Postgres",
            micros / 1_000_000
        );
        problems.push(Problem::new(text, "Synchronize the clocks of both machines (NTP)."));
    }
    if let Some(failure) = close_failure {
        let text = format!("closing windows failed at {}: {}", time(failure.failed_at), failure.message);
        problems.push(Problem::new(text, "The processor repeats it after each commit; remove the cause in Postgres."));
    }
    if let Some(hold) = hold {
        let text = format!("windows have stayed open since {}: {}", time(hold.since), hold.detail);
        problems.push(Problem::new(text, "See docs/how-to/windows-stay-open.md."));
    }
    if !deduplication_incomplete.is_empty() {
        let text = format!(
            "Kafka has deleted records of partitions {deduplication_incomplete:?} whose transaction ids should still count"
        );
        problems.push(Problem::new(text, "Raise retention.ms of the topic."));
    }
    if let Some(rejection) = rejection {
        let text = format!(
            "more than half of the records are invalid since {}: {}",
            time(rejection.since),
            rejection.sentence
        );
        problems.push(Problem::new(text, "retail sample shows why, and proposes a mapping."));
    }
    problems
}
