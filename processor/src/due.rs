//! When rows are due: what a processor that prints rows announces at its start.

use retail_api::{Pipeline, duration};
use retail_engine::Timestamp;

/// The next rows, and the first final row if events have the time of the clock.
pub(crate) fn announcement(pipeline: &Pipeline, now: Timestamp) -> String {
    let (window, delay) = (pipeline.rules.window, pipeline.rules.delay);
    let trigger = duration::write(pipeline.trigger);
    let rows = now.plus(pipeline.trigger.into());
    // The window of an event of this moment closes once every partition has shown an event of this time.
    let closes = now.floor(window).plus(window).plus(delay);
    format!(
        "the next rows are due in {trigger}, at {}, and then every {trigger} with new events; for events of the present time, the first \
         final rows are due by {}: a window of {} and a delay of {} later, at the next commit",
        minute(rows),
        minute(closes.plus(pipeline.trigger.into())),
        duration::write(window.into()),
        duration::write(delay.into())
    )
}

/// Hours, minutes and seconds in UTC.
fn minute(time: Timestamp) -> String {
    let text = time.to_string();
    text.get(11..19).map_or(text.clone(), |time| format!("{time} UTC"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcement_names_the_next_and_the_first_final_rows() {
        let yaml = "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {name: shop}\nspec:\n  \
                    kafka: {bootstrapServers: \"k:9092\"}\n  topic: {name: t}\n  database: {host: p, name: d}\n  trigger: 1m\n";
        let pipeline = Pipeline::parse(yaml).unwrap();
        // 00:07:30: the window ends at 00:10, its delay at 01:10.
        let now = Timestamp::from_secs(1_735_689_600 + 450);
        insta::assert_snapshot!(announcement(&pipeline, now), @"the next rows are due in 1m, at 00:08:30 UTC, and then every 1m with new events; for events of the present time, the first final rows are due by 01:11:00 UTC: a window of 5m and a delay of 1h later, at the next commit");
    }
}
