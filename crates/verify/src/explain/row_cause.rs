//! Whether a row can still change, and why, in words.

use chrono::{DateTime, Duration, Utc};
use serde::Serialize;

use crate::units::{rfc3339, written};

/// The decision that closed a window.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Closing {
    /// The watermark, in RFC 3339 as all times.
    pub watermark: String,
    /// Time of the decision.
    pub decided_at: String,
    /// Time at which the row became final.
    pub closed_at: Option<String>,
}

/// The partition that the watermark waits for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// Its number.
    pub partition: i32,
    /// Its latest observed time; `None` before its first event.
    pub newest_event: Option<String>,
}

/// The state of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RowState<'a> {
    pub(crate) exists: bool,
    pub(crate) window_end: DateTime<Utc>,
    pub(crate) delay: Duration,
    /// Whether retention has dropped the rows of the window.
    pub(crate) is_dropped: bool,
    pub(crate) closing: Option<&'a Closing>,
    pub(crate) watermark: Option<&'a str>,
    pub(crate) holder: Option<&'a Holder>,
}

impl RowState<'_> {
    /// `final`, `closing`, `open`, `dropped`, or `none` for a row that does not exist.
    pub(crate) fn name(&self) -> &'static str {
        match (self.is_dropped, self.exists, self.closing) {
            (true, false, _) => "dropped",
            (_, false, _) => "none",
            (_, true, None) => "open",
            (_, true, Some(Closing { closed_at: None, .. })) => "closing",
            (_, true, Some(_)) => "final",
        }
    }

    pub(crate) fn because(&self) -> String {
        let end = rfc3339(self.window_end);
        let name = self.name();
        let closing = self.closing.map(|Closing { watermark, decided_at, .. }| {
            format!("The watermark reached {watermark}, and at {decided_at} it was decided to close the windows that end at or before it")
        });
        match (name, closing) {
            ("dropped", _) => "The rows of the window were dropped: they are older than spec.retention.".to_owned(),
            ("none", Some(closing)) => {
                format!("{closing}: no event of this group was applied before, and none can be applied any more.")
            }
            ("none", None) => format!("No event of this group was applied yet. {}", self.wait(&end)),
            ("closing", Some(closing)) => format!("{closing}. Its rows are being closed: no event is added any more."),
            (_, Some(closing)) => format!("{closing}. The row is final: it never changes again."),
            (_, None) => self.wait(&end),
        }
    }

    fn wait(&self, end: &str) -> String {
        let holder = match (self.holder, self.watermark) {
            (Some(Holder { partition, newest_event: Some(newest) }), _) => format!(
                "Partition {partition} holds it: its newest event is {newest}, and the window closes once it shows an event of {} or later, \
                 or is idle",
                rfc3339(self.window_end + self.delay)
            ),
            (Some(Holder { partition, newest_event: None }), _) => {
                format!("Partition {partition} holds it: it has shown no event yet, and is not idle")
            }
            (None, _) => "All partitions are idle, so it waits for new events".to_owned(),
        };
        let watermark = self.watermark.unwrap_or("not known yet");
        let delay = written(self.delay);
        format!(
            "The row can change until the watermark reaches {end}. The watermark, with the delay of {delay}, is {watermark}. {holder}."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_of_a_row_names_the_decision_or_the_holder() {
        let window_end = "2025-01-01T00:05:00Z".parse().unwrap();
        let holder = Holder { partition: 3, newest_event: Some("2025-01-01T01:01:00Z".to_owned()) };
        let open = RowState {
            exists: true,
            window_end,
            delay: Duration::hours(1),
            is_dropped: false,
            closing: None,
            watermark: Some("2025-01-01T00:01:00Z"),
            holder: Some(&holder),
        };
        assert_eq!(
            (open.name(), &*open.because()),
            (
                "open",
                "The row can change until the watermark reaches 2025-01-01T00:05:00Z. The watermark, with the delay of 1h, is \
                 2025-01-01T00:01:00Z. Partition 3 holds it: its newest event is 2025-01-01T01:01:00Z, and the window closes once it shows \
                 an event of 2025-01-01T01:05:00Z or later, or is idle."
            )
        );
        let closed_at = Some("2025-01-01T01:06:01Z".to_owned());
        let (watermark, decided_at) = ("2025-01-01T00:06:00Z".to_owned(), "2025-01-01T01:06:00Z".to_owned());
        let closing = Closing { watermark, decided_at, closed_at };
        let closed = RowState { closing: Some(&closing), ..open.clone() };
        assert_eq!(
            (closed.name(), &*closed.because()),
            (
                "final",
                "The watermark reached 2025-01-01T00:06:00Z, and at 2025-01-01T01:06:00Z it was decided to close the windows that end at or \
                 before it. The row is final: it never changes again."
            )
        );
        let moving = Closing { closed_at: None, ..closing.clone() };
        assert_eq!(RowState { closing: Some(&moving), ..open.clone() }.name(), "closing");
        assert_eq!(RowState { exists: false, ..closed.clone() }.name(), "none");
        assert_eq!(RowState { exists: false, is_dropped: true, ..closed }.name(), "dropped");
        let silent = Holder { newest_event: None, ..holder };
        assert!(RowState { holder: Some(&silent), ..open.clone() }.because().contains("it has shown no event yet"));
        assert!(RowState { holder: None, ..open }.because().contains("All partitions are idle"));
    }
}
