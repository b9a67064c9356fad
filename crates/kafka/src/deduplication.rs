//! Whether a topic keeps its records for deduplication: their transaction ids are read again after each claim.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use retail_api::duration;

/// The settings that decide.
pub(crate) const SETTINGS: [&str; 2] = [CLEANUP_POLICY, RETENTION];

const CLEANUP_POLICY: &str = "cleanup.policy";
const RETENTION: &str = "retention.ms";

/// Why a topic does not suit deduplication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsuitable {
    /// Compaction removes single records: deduplication is refused.
    Compacted,
    /// Kafka deletes records whose ids still count: after a restart, deduplication may be incomplete.
    ShortRetention {
        /// Time for which Kafka keeps records.
        retention: Duration,
        /// Time for which ids count.
        within: Duration,
    },
}

impl fmt::Display for Unsuitable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compacted => f.write_str(
                "it is compacted (cleanup.policy), and spec.deduplicate needs all its records: set cleanup.policy to delete, or use \
                 another topic",
            ),
            Self::ShortRetention { retention, within } => write!(
                f,
                "Kafka deletes records after {} (retention.ms), and deduplicate.within is {}: after a restart of the processor, \
                 purchases that are sent again may count twice",
                duration::write(*retention),
                duration::write(*within)
            ),
        }
    }
}

/// Whether a topic with these settings does not suit deduplication.
pub fn unsuitable(config: &BTreeMap<String, String>, within: Duration) -> Option<Unsuitable> {
    let mut policies = config.get(CLEANUP_POLICY).map_or("delete", String::as_str).split(',').map(str::trim);
    if policies.clone().any(|policy| policy == "compact") {
        return Some(Unsuitable::Compacted);
    }
    // A negative retention has no limit.
    let retention = Duration::from_millis(config.get(RETENTION)?.trim().parse().ok()?);
    let deletes = policies.any(|policy| policy == "delete");
    (deletes && retention < within).then_some(Unsuitable::ShortRetention { retention, within })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compaction_and_short_retention_do_not_suit() {
        let hour = Duration::from_hours(1);
        let of = |settings: &[(&str, &str)]| {
            unsuitable(&settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(), hour)
        };
        let short = Unsuitable::ShortRetention { retention: Duration::from_millis(3_599_999), within: hour };
        for (settings, expected) in [
            (&[][..], None),
            (&[("cleanup.policy", "delete"), ("retention.ms", "3600000")], None),
            (&[("cleanup.policy", "delete"), ("retention.ms", "-1")], None),
            (&[("cleanup.policy", "delete"), ("retention.ms", "3599999")], Some(short)),
            (&[("cleanup.policy", "delete, compact"), ("retention.ms", "-1")], Some(Unsuitable::Compacted)),
            (&[("cleanup.policy", "compact"), ("retention.ms", "1")], Some(Unsuitable::Compacted)),
        ] {
            assert_eq!(of(settings), expected, "{settings:?}");
        }
        let text = Unsuitable::ShortRetention { retention: Duration::from_mins(30), within: hour }.to_string();
        assert!(
            text.starts_with("Kafka deletes records after 30m (retention.ms), and deduplicate.within is 1h"),
            "{text}"
        );
    }
}
