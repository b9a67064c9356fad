//! The histogram of commit durations.

use prometheus_client::metrics::histogram::Histogram;

/// Bounds in seconds: a fast disk takes a few milliseconds, and a statement times out after a minute.
const BOUNDS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// How long commits took, in seconds.
#[derive(Debug)]
pub(crate) struct CommitSeconds(pub(crate) Histogram);

impl Default for CommitSeconds {
    fn default() -> Self {
        Self(Histogram::new(BOUNDS))
    }
}
