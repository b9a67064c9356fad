//! Rates: how the progress of a pipeline has changed from snapshot to snapshot.

use std::collections::VecDeque;
use std::time::Duration;

use retail_engine::Timestamp;

/// Number of changes that are kept, which is the number of points of a sparkline.
const CHANGES: usize = 60;

/// Span of rates, and time beyond two triggers without a change after which a rate is zero.
const SPAN: Duration = Duration::from_secs(10);

/// The progress at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Progress {
    /// The clock of the server.
    pub(crate) at: Timestamp,
    /// Number of processed offsets.
    pub(crate) processed: i64,
    /// The watermark; `None` before the first one.
    pub(crate) watermark: Option<Timestamp>,
}

/// The last changes of the progress. Commits come in intervals of the trigger, so that a rate is one between changes.
#[derive(Debug)]
pub(crate) struct History {
    trigger: Duration,
    changes: VecDeque<Progress>,
    now: Timestamp,
}

impl History {
    /// An empty history of a pipeline with this trigger.
    pub(crate) const fn new(trigger: Duration) -> Self {
        Self { trigger, changes: VecDeque::new(), now: Timestamp::EPOCH }
    }

    /// Adds the progress, if it differs from the last one.
    pub(crate) fn add(&mut self, progress: Progress) {
        self.now = progress.at;
        // A schema that was replaced begins again.
        if self.changes.back().is_some_and(|last| last.processed > progress.processed) {
            self.changes.clear();
        }
        let is_new = self
            .changes
            .back()
            .is_none_or(|last| (last.processed, last.watermark) != (progress.processed, progress.watermark));
        if is_new {
            self.changes.push_back(progress);
        }
        if self.changes.len() > CHANGES {
            self.changes.pop_front();
        }
    }

    /// Processed offsets per second; `None` until it is known.
    pub(crate) fn processed_per_second(&self) -> Option<f64> {
        self.rate(|change| Some(change.processed as f64))
    }

    /// Seconds of event time per second; `None` until it is known.
    pub(crate) fn watermark_per_second(&self) -> Option<f64> {
        self.rate(|change| change.watermark.map(|watermark| watermark.as_micros() as f64 / 1e6))
    }

    fn rate(&self, value: impl Fn(&Progress) -> Option<f64>) -> Option<f64> {
        let last = self.changes.back()?;
        let span = self.span();
        if Duration::from(self.now.since(last.at)) > span {
            return Some(0.0);
        }
        let first = self.changes.iter().find(|change| Duration::from(last.at.since(change.at)) <= span)?;
        let seconds = Duration::from(last.at.since(first.at)).as_secs_f64();
        if seconds < 1.0 {
            return None;
        }
        Some((value(last)? - value(first)?) / seconds)
    }

    /// Processed offsets per second at each of the last changes, the oldest first: each over the span of rates, because the commits of
    /// several workers do not come evenly.
    pub(crate) fn sparkline(&self) -> Vec<f64> {
        let rates = self.changes.iter().skip(1).map(|last| {
            let first = self.changes.iter().find(|change| Duration::from(last.at.since(change.at)) <= self.span());
            let first = first.unwrap_or(last);
            let seconds = Duration::from(last.at.since(first.at)).as_secs_f64().max(0.1);
            (last.processed - first.processed) as f64 / seconds
        });
        rates.collect()
    }

    fn span(&self) -> Duration {
        SPAN + 2 * self.trigger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(second: i64, processed: i64) -> Progress {
        let watermark = Some(Timestamp::from_secs(1000 + 60 * second));
        Progress { at: Timestamp::from_secs(second), processed, watermark }
    }

    #[test]
    fn rates_are_those_between_changes() {
        let mut history = History::new(Duration::from_secs(5));
        assert_eq!((history.processed_per_second(), history.sparkline()), (None, vec![]));
        history.add(progress(100, 0));
        assert_eq!(history.processed_per_second(), None, "one sample has no rate");
        history.add(progress(105, 10_000));
        history.add(Progress { at: Timestamp::from_secs(106), ..progress(105, 10_000) });
        history.add(progress(110, 15_000));
        history.add(Progress { at: Timestamp::from_secs(114), ..progress(110, 15_000) });
        assert_eq!(history.processed_per_second(), Some(1500.0), "the pause until the next commit does not count");
        assert_eq!(history.watermark_per_second(), Some(60.0));
        assert_eq!(history.sparkline(), [2000.0, 1500.0], "over the span of rates");
    }

    #[test]
    fn rate_without_changes_is_zero() {
        let mut history = History::new(Duration::from_secs(5));
        history.add(progress(100, 0));
        history.add(progress(105, 10_000));
        history.add(Progress { at: Timestamp::from_secs(126), ..progress(105, 10_000) });
        assert_eq!(history.processed_per_second(), Some(0.0));
    }

    #[test]
    fn replaced_schema_begins_again() {
        let mut history = History::new(Duration::from_secs(5));
        history.add(progress(100, 50_000));
        history.add(progress(105, 10));
        assert_eq!(history.processed_per_second(), None);
    }
}
