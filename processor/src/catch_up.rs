//! The progress of `--until-caught-up`, as lines of the log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use retail_api::duration;

/// Interval of the lines.
const INTERVAL: Duration = Duration::from_secs(5);

/// The distance from the targets at the first look and at the last line.
#[derive(Debug)]
pub(crate) struct CatchUp {
    began: Instant,
    said: Instant,
    /// Records up to the targets at the beginning; `None` before the first look.
    all: Option<i64>,
}

impl CatchUp {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { began: now, said: now, all: None }
    }

    /// The line that is due, from the next offset of each partition and its target.
    pub(crate) fn line(&mut self, now: Instant, next_offsets: &BTreeMap<i32, i64>, targets: &[i64]) -> Option<String> {
        let missing = |(partition, target): (i32, &i64)| {
            (target - next_offsets.get(&partition).copied().unwrap_or_default()).max(0)
        };
        let left: i64 = (0..).zip(targets).map(missing).sum();
        let all = *self.all.get_or_insert(left);
        if now.saturating_duration_since(self.said) < INTERVAL || left == 0 {
            return None;
        }
        self.said = now;
        let done = (all - left).max(0);
        let elapsed = now.saturating_duration_since(self.began).as_secs_f64();
        let rate = done as f64 / elapsed;
        let eta = if done > 0 {
            let seconds = Duration::try_from_secs_f64(left as f64 / rate).unwrap_or(Duration::MAX);
            format!(", about {} left", duration::approximate(seconds))
        } else {
            String::new()
        };
        Some(format!("{} % of {all} records are committed: {rate:.0} records/s{eta}", done * 100 / all.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_names_share_rate_and_time_left() {
        let start = Instant::now();
        let mut catch_up = CatchUp::new(start);
        let mut line = |seconds, next: [i64; 2]| {
            let next = (0..).zip(next).collect();
            catch_up.line(start + Duration::from_secs(seconds), &next, &[10_000, 2000])
        };
        assert_eq!(line(0, [1000, 1000]), None, "the beginning is no news");
        assert_eq!(line(4, [2000, 1000]), None);
        assert_eq!(line(5, [1000, 1000]).as_deref(), Some("0 % of 10000 records are committed: 0 records/s"));
        let half = "50 % of 10000 records are committed: 500 records/s, about 10s left";
        assert_eq!(line(10, [5000, 2000]).as_deref(), Some(half));
        assert_eq!(line(12, [9000, 2000]), None, "the last line is two seconds old");
        assert_eq!(line(20, [10_000, 2500]), None, "the end is reported by its result");
    }
}
