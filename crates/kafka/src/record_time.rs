//! Who sets the timestamps of a topic's records: the brokers, or the producers.
//!
//! The timestamp of a record limits the time that its event can prove. A producer whose clock is ahead writes the wrong time into
//! event and record alike, so that only a timestamp of the brokers limits its effect on other producers.

use std::collections::BTreeMap;
use std::time::Duration;

use retail_api::duration;

/// The setting of a topic that decides who sets timestamps.
pub(crate) const TIMESTAMP_TYPE: &str = "message.timestamp.type";

/// Its value in topics that we create, unless the declaration contains another one: the brokers set timestamps.
pub(crate) const LOG_APPEND_TIME: &str = "LogAppendTime";

/// The settings that limit by how much a producer's timestamp may be ahead of the broker's clock: the present one, and that of
/// brokers before 3.6.
const LIMITS: [&str; 2] = ["message.timestamp.after.max.ms", "message.timestamp.difference.max.ms"];

/// The settings that [`warning`] needs.
pub(crate) const SETTINGS: [&str; 3] = [TIMESTAMP_TYPE, LIMITS[0], LIMITS[1]];

/// How early windows can close because of one wrong clock, if the producers set the timestamps of a topic with these settings.
/// `None` if the brokers set them, or if the settings do not say.
pub fn warning(config: &BTreeMap<String, String>) -> Option<String> {
    if config.get(TIMESTAMP_TYPE)? != "CreateTime" {
        return None;
    }
    let limit = LIMITS.iter().find_map(|name| config.get(*name));
    let early = match limit.map(|millis| millis.trim().parse::<u64>()) {
        Some(Ok(millis)) if millis < i64::MAX as u64 => {
            format!("up to {} early", duration::approximate(Duration::from_millis(millis)))
        }
        Some(Ok(_)) => format!("early without a limit, unless {} is set", LIMITS[0]),
        Some(Err(_)) | None => format!("up to {} of the topic early", LIMITS[0]),
    };
    Some(format!(
        "producers set the timestamps of its records ({TIMESTAMP_TYPE}=CreateTime), so one clock can close windows {early}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: &[(&str, &str)]) -> Option<String> {
        warning(&settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn warning_names_how_early_windows_can_close() {
        let begin = "producers set the timestamps of its records (message.timestamp.type=CreateTime), so one clock can close windows ";
        let create_time = (TIMESTAMP_TYPE, "CreateTime");
        for (settings, end) in [
            (&[create_time, (LIMITS[0], "3600000")][..], "up to 1h early"),
            (&[create_time, (LIMITS[1], "600000")], "up to 10m early"),
            (
                &[create_time, (LIMITS[0], "9223372036854775807"), (LIMITS[1], "5")],
                "early without a limit, unless message.timestamp.after.max.ms is set",
            ),
            (&[create_time], "up to message.timestamp.after.max.ms of the topic early"),
        ] {
            assert_eq!(of(settings), Some(format!("{begin}{end}")));
        }
        assert_eq!(of(&[(TIMESTAMP_TYPE, LOG_APPEND_TIME), (LIMITS[0], "3600000")]), None);
        assert_eq!(of(&[]), None);
    }
}
