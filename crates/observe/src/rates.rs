//! Speeds over the last few seconds, from the totals of successive looks.

use std::collections::VecDeque;
use std::time::Duration;

use retail_engine::Timestamp;

/// The speeds between two looks, per second.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Speeds {
    /// Records appended to the topic, or sent.
    pub sent: f64,
    /// Records read, or processed.
    pub read: f64,
    /// Seconds of event time by which the watermark moves in a second.
    pub watermark: f64,
}

/// The totals of the last looks.
#[derive(Clone, Default, Debug)]
pub struct Rates {
    span: Duration,
    looks: VecDeque<Look>,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    at: Timestamp,
    sent: i64,
    read: i64,
    watermark: Option<Timestamp>,
}

impl Rates {
    /// Speeds over a span; a short one leads to the speeds between two looks.
    pub fn over(span: Duration) -> Self {
        Self { span, looks: VecDeque::new() }
    }

    /// Adds the totals at a moment, and returns the speeds since the oldest look of the span. A look with smaller totals, as after a
    /// restart of their source, begins again.
    pub fn add(&mut self, at: Timestamp, sent: i64, read: i64, watermark: Option<Timestamp>) -> Speeds {
        let look = Look { at, sent, read, watermark };
        if self.looks.back().is_some_and(|last| at <= last.at || sent < last.sent || read < last.read) {
            self.looks.clear();
        }
        self.looks.push_back(look);
        // Keeps one look that is at least as old as the span.
        while self.looks.get(1).is_some_and(|then| Duration::from(at.since(then.at)) >= self.span) {
            self.looks.pop_front();
        }
        let first = self.looks[0];
        let seconds = Duration::from(at.since(first.at)).as_secs_f64();
        if seconds <= 0.0 {
            return Speeds::default();
        }
        let moved =
            watermark.zip(first.watermark).map_or(0.0, |(now, then)| Duration::from(now.since(then)).as_secs_f64());
        Speeds {
            sent: (sent - first.sent) as f64 / seconds,
            read: (read - first.read) as f64 / seconds,
            watermark: moved / seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_cover_the_span_and_begin_again_after_a_restart() {
        let mut rates = Rates::over(Duration::from_secs(3));
        let at = Timestamp::from_secs;
        assert_eq!(rates.add(at(100), 0, 0, None), Speeds::default());
        let speeds = rates.add(at(102), 200, 20, Some(at(0)));
        assert_eq!((speeds.sent, speeds.read, speeds.watermark), (100.0, 10.0, 0.0));
        for second in 3..60 {
            rates.add(at(100 + second), 200, 20 + second * 7, Some(at(second * 60)));
        }
        let speeds = rates.add(at(160), 200, 20 + 60 * 7, Some(at(3600)));
        assert_eq!((speeds.sent, speeds.read, speeds.watermark), (0.0, 7.0, 60.0));
        let mut steps = Rates::over(Duration::from_millis(1));
        let speeds = [(0, 0), (1, 5), (3, 25)].map(|(second, sent)| steps.add(at(second), sent, 0, None).sent);
        assert_eq!(speeds, [0.0, 5.0, 10.0], "between two looks");
        assert_eq!(rates.add(at(161), 200, 0, Some(at(3600))), Speeds::default(), "the totals began again");
    }
}
