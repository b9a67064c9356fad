//! Reading again and again from servers that may be slow or silent: when a view reports the silence, and how long it pauses.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// Time without an answer after which a view no longer shows the last answer as the present state.
const SILENCE: Duration = Duration::from_secs(3);

/// Interval of further reports.
const AGAIN: Duration = Duration::from_secs(1);

/// Interval of answers that take no time.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// A view asks for a tenth of the time at most: it pauses for this multiple of the time that an answer took.
const PAUSE: u32 = 9;

/// The longest pause. Otherwise an outage of a minute would be followed by nine minutes with an old state.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Waits for an answer. While there is none, calls `report` with an error for the view: first after three seconds, then each second.
pub async fn until_answer<T>(answer: impl Future<Output = T>, mut report: impl FnMut(String)) -> T {
    let started = Instant::now();
    let mut answer = pin!(answer);
    let mut wait = SILENCE;
    loop {
        match timeout(wait, &mut answer).await {
            Ok(answer) => return answer,
            Err(_) => report(format!("no answer for {} s", started.elapsed().as_secs())),
        }
        wait = AGAIN;
    }
}

/// The time between the starts of two reads, of which the first took `took`.
pub fn interval_after(took: Duration) -> Duration {
    INTERVAL.max(took + (took * PAUSE).min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reports(seconds: f64) -> Vec<String> {
        let mut reports = Vec::new();
        let answer = tokio::time::sleep(Duration::from_secs_f64(seconds));
        until_answer(answer, |report| reports.push(report)).await;
        reports
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_reported_after_three_seconds_and_then_each_second() {
        assert_eq!(reports(2.9).await, [""; 0]);
        assert_eq!(reports(5.5).await, ["no answer for 3 s", "no answer for 4 s", "no answer for 5 s"]);
    }

    #[test]
    fn pause_grows_with_the_answer_up_to_ten_seconds() {
        let intervals = [0, 50, 100, 200, 5_000, 60_000].map(|took| interval_after(Duration::from_millis(took)));
        assert_eq!(intervals.map(|interval| interval.as_millis()), [1_000, 1_000, 1_000, 2_000, 15_000, 70_000]);
    }
}
