//! Who manages the topic of a pipeline, and where its first processor begins to read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Changes that the operator makes to the topic.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum TopicManagement {
    /// Creates the topic, and changes it as declared. A topic that existed before is used as it is.
    #[default]
    Managed,
    /// As Managed, and also changes a topic that existed before.
    Adopt,
    /// Uses an existing topic as it is. Never creates or changes it.
    Use,
}

/// Where the first processor of a pipeline begins to read each partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartPosition {
    /// At the first record.
    Earliest,
    /// After the last record.
    Latest,
    /// At the first record with this timestamp or a later one, in milliseconds since 1970.
    Time(i64),
}

impl StartPosition {
    /// Parses a text that matches the pattern of the schema.
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "Earliest" => Self::Earliest,
            "Latest" => Self::Latest,
            time => Self::Time(millis(time)),
        }
    }
}

/// A time like 2026-11-30T01:02:03Z in milliseconds since 1970.
fn millis(text: &str) -> i64 {
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().expect("the pattern has digits there");
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    // Years that begin in March have the leap day at their end.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = days + (153 * month + 2) / 5 + day - 1 - 719_468;
    1000 * (86_400 * days + 3600 * number(11, 13) + 60 * number(14, 16) + number(17, 19))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_position_is_a_name_or_a_time() {
        assert_eq!(StartPosition::parse("Earliest"), StartPosition::Earliest);
        assert_eq!(StartPosition::parse("Latest"), StartPosition::Latest);
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("2026-11-30T01:02:03Z", 1_796_000_523),
        ] {
            assert_eq!(StartPosition::parse(text), StartPosition::Time(1000 * seconds), "{text}");
        }
    }
}
