//! The live view of `retail run`: a few lines that stay in place on a terminal, otherwise a log line every ten seconds.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressStyle};
use retail_engine::Counts;
use retail_processor::state::{State, View};
use retail_producer::run::Sent;

/// Interval of updates on a terminal.
const FRAME: Duration = Duration::from_millis(200);

/// Interval of log lines without a terminal.
const LINE: Duration = Duration::from_secs(10);

/// The output of this process: above the live lines on a terminal, otherwise directly to standard output and error.
#[derive(Clone)]
pub(crate) struct Screen {
    lines: Option<MultiProgress>,
}

impl Screen {
    /// With live lines if both outputs are terminals.
    pub(crate) fn new() -> Self {
        let live = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        Self { lines: live.then(MultiProgress::new) }
    }

    /// Calls `write`, which prints above the live lines.
    pub(crate) fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.lines {
            Some(lines) => lines.suspend(write),
            None => write(),
        }
    }

    /// Shows the state until the future is dropped; `sent` with a producer only.
    pub(crate) async fn show(&self, state: &State, sent: Option<&Sent>) {
        let mut rates = Rates::default();
        rates.per_second(Instant::now(), 0, 0);
        let Some(lines) = &self.lines else {
            loop {
                tokio::time::sleep(LINE).await;
                let (sent, read) = rates.per_second(Instant::now(), sent.map_or(0, Sent::events), state.read());
                tracing::info!(
                    "{}",
                    Frame { view: &state.view(), sent, read, now: SystemTime::now() }.lines().join("; ")
                );
            }
        };
        let bar = lines.add(ProgressBar::new_spinner());
        bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is valid"));
        let _cleared = Cleared(bar.clone());
        loop {
            let (sent, read) = rates.per_second(Instant::now(), sent.map_or(0, Sent::events), state.read());
            bar.set_message(Frame { view: &state.view(), sent, read, now: SystemTime::now() }.lines().join("\n"));
            tokio::time::sleep(FRAME).await;
        }
    }
}

/// Removes the live lines when dropped.
struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Standard error, above the live lines.
pub(crate) struct Stderr(pub(crate) Screen);

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.above(|| std::io::stderr().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Standard output, above the live lines.
pub(crate) struct Stdout(pub(crate) Screen);

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.above(|| std::io::stdout().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stdout().flush()
    }
}

/// Rates per second, over the last few seconds.
#[derive(Default, Debug)]
struct Rates {
    /// Time, purchases sent, records read.
    before: std::collections::VecDeque<(Instant, u64, u64)>,
}

impl Rates {
    /// The time over which a rate is computed.
    const SPAN: Duration = Duration::from_secs(3);

    fn per_second(&mut self, now: Instant, sent: u64, read: u64) -> (u64, u64) {
        self.before.push_back((now, sent, read));
        // Keeps one sample that is at least as old as the span.
        while self.before.get(1).is_some_and(|(then, _, _)| now.duration_since(*then) >= Self::SPAN) {
            self.before.pop_front();
        }
        let (then, sent_then, read_then) = self.before[0];
        let seconds = now.duration_since(then).as_secs_f64();
        let rate = |now: u64, then: u64| if seconds > 0.0 { ((now - then) as f64 / seconds).round() as u64 } else { 0 };
        (rate(sent, sent_then), rate(read, read_then))
    }
}

/// The lines at one moment.
struct Frame<'a> {
    view: &'a View,
    /// Purchases sent per second.
    sent: u64,
    /// Records read per second.
    read: u64,
    now: SystemTime,
}

impl Frame<'_> {
    fn lines(&self) -> Vec<String> {
        let view = self.view;
        let count = |count: i64| HumanCount(count.unsigned_abs()).to_string();
        let lag = view.partitions.values().map(|partition| partition.lag()).sum::<Option<i64>>();
        let mut lines = vec![format!(
            "sent {}/s, read {}/s, lag {}",
            HumanCount(self.sent),
            HumanCount(self.read),
            lag.map_or_else(|| "unknown".to_owned(), count)
        )];
        lines.push(match view.watermark {
            Some(watermark) => format!("watermark {watermark}, {} open windows", view.open_windows),
            None => "no watermark yet".to_owned(),
        });
        let Counts { applied, late, invalid, future, filtered, duplicate, gaps } = view.counts;
        let sign = if view.counts.total() == view.offsets { '=' } else { '≠' };
        let always = [(applied, "applied"), (late, "late"), (invalid, "invalid"), (future, "future")];
        // Only pipelines with a filter or deduplication have these.
        let at_times = [(filtered, "filtered"), (duplicate, "duplicate")].into_iter().filter(|(number, _)| *number > 0);
        let fates = always.into_iter().chain(at_times).chain([(gaps, "gaps")]);
        let fates: Vec<String> = fates.map(|(number, fate)| format!("{} {fate}", count(number))).collect();
        lines.push(format!("{} offsets {sign} {}", count(view.offsets), fates.join(" + ")));
        let commits = view.commits.get("committed").copied().unwrap_or_default();
        if let Some(ago) = view.last_commit.and_then(|time| self.now.duration_since(time).ok()) {
            lines.push(format!("{} commits, last {:.1} s ago", HumanCount(commits), ago.as_secs_f64()));
        }
        lines.extend(view.problems.iter().map(|(component, problem)| format!("{component}: {problem}")));
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use retail_engine::Timestamp;
    use retail_processor::state::PartitionView;

    use super::*;

    #[test]
    fn frame_shows_rates_lag_watermark_fates_and_last_commit() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let mut view = View {
            offsets: 12_345,
            counts: Counts { applied: 12_000, late: 300, invalid: 40, future: 4, gaps: 1, ..Counts::default() },
            commits: BTreeMap::from([("committed", 17)]),
            partitions: BTreeMap::from([
                (0, PartitionView { committed: 5, read: 5, log_end: Some(9) }),
                (1, PartitionView { committed: 5, read: 5, log_end: Some(1005) }),
            ]),
            watermark: Some(Timestamp::from_secs(1_735_689_600)),
            open_windows: 13,
            last_commit: Some(now - Duration::from_millis(420)),
            ..View::default()
        };
        let text = |view: &View| Frame { view, sent: 2000, read: 1999, now }.lines().join("\n");
        insta::assert_snapshot!(text(&view), @r"
        sent 2,000/s, read 1,999/s, lag 1,004
        watermark 2025-01-01T00:00:00Z, 13 open windows
        12,345 offsets = 12,000 applied + 300 late + 40 invalid + 4 future + 1 gaps
        17 commits, last 0.4 s ago
        ");
        view.offsets += 1;
        view.problems.insert("kafka".to_owned(), "no broker answers".to_owned());
        assert!(text(&view).contains("12,346 offsets ≠ 12,000") && text(&view).ends_with("\nkafka: no broker answers"));
    }

    #[test]
    fn rate_covers_the_last_three_seconds() {
        let start = Instant::now();
        let mut rates = Rates::default();
        assert_eq!(rates.per_second(start, 0, 0), (0, 0));
        assert_eq!(rates.per_second(start + Duration::from_secs(2), 200, 20), (100, 10));
        for second in 3..60 {
            rates.per_second(start + Duration::from_secs(second), 200, 20 + second * 7);
        }
        assert_eq!(rates.per_second(start + Duration::from_secs(60), 200, 20 + 60 * 7), (0, 7));
    }
}
