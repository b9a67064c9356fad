//! The CronJob of `retail verify --record`, for `spec.verify`. Its pods have file, Secrets and template of the processors.

use std::time::Duration;

use retail_api::template::PodTemplate;
use retail_api::{Interval, Verification};
use serde_json::{Value, json};

use super::blueprint::{Blueprint, DIRECTORY};
use super::config_files::PROCESSOR_FILE;
use super::pod_secrets::PodSecrets;
use super::{pod, pod_resources, pod_template};
use crate::resources::names::{Child, selector};

/// Least time that a verification gets. The first one reads the whole topic; if it could never end, there would never be a proof.
const LEAST_TIME: Duration = Duration::from_hours(6);

/// Most time that a verification gets: one that hangs prevents the next ones.
const MOST_TIME: Duration = Duration::from_hours(24);

/// The CronJob; `None` without spec.verify.
pub(super) fn cron_job(blueprint: &Blueprint<'_>) -> Option<Value> {
    let pipeline = blueprint.pipeline;
    let Verification { every, resources } = pipeline.verify.as_ref()?;
    let template = without_spread(&pipeline.processor.template);
    let mut container = pod::container(blueprint, "verify", PROCESSOR_FILE, &pod_resources::verification(resources));
    container["command"] = json!(["/retail"]);
    container["args"] = json!(["verify", "-f", format!("{DIRECTORY}/{PROCESSOR_FILE}"), "--record"]);
    let secrets =
        PodSecrets::default().kafka(&pipeline.kafka).database(&pipeline.database).registry(pipeline.registry());
    let selector = selector(&pipeline.name, Child::Verification.component());
    let mut pod = pod::pod(blueprint, container, secrets, &template, &json!(selector));
    pod["restartPolicy"] = json!("Never");
    let labels = selector.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let mut metadata = json!({"labels": pod_template::with(&template.labels, labels)});
    // The API server does not store empty annotations.
    if !template.annotations.is_empty() {
        metadata["annotations"] = json!(template.annotations);
    }
    let length = every.length();
    Some(json!({"spec": {
        "schedule": schedule(*every, &pipeline.uid),
        // Without a change to daylight saving time, which would make one interval longer and another one shorter. This name needs no
        // files of time zones.
        "timeZone": "UTC",
        // Two verifications at once would record the same number of a proof, and one of them would fail.
        "concurrencyPolicy": "Forbid",
        "suspend": blueprint.suspended,
        // A verification that was missed starts late, until the next one is due.
        "startingDeadlineSeconds": length.as_secs(),
        "successfulJobsHistoryLimit": 1,
        "failedJobsHistoryLimit": 1,
        "jobTemplate": {
            "metadata": {"labels": selector},
            "spec": {
                "activeDeadlineSeconds": length.clamp(LEAST_TIME, MOST_TIME).as_secs(),
                // A server can be away for a moment; a difference is found again.
                "backoffLimit": 1,
                // The drain of a node does not count as a failure.
                "podFailurePolicy": {"rules": [{
                    "action": "Ignore",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                }]},
                "template": {"metadata": metadata, "spec": pod},
            },
        },
    }}))
}

/// The template of the processors without rules that keep their pods apart: a verification may run beside any of them.
fn without_spread(template: &PodTemplate) -> PodTemplate {
    let mut template = template.clone();
    template.topology_spread_constraints.clear();
    template.affinity.retain(|kind, _| kind == "nodeAffinity");
    template
}

/// The schedule of an interval. It begins at a time that depends on the uid: the pipelines of a cluster start at different times.
fn schedule(every: Interval, uid: &str) -> String {
    let place = uid.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let (minute, hour, day) = (place % 60, place / 60 % 24, place / (60 * 24) % 7);
    match every {
        Interval::Minutes(minutes) => format!("{}-59/{minutes} * * * *", minute % minutes),
        Interval::Hours(hours) => format!("{minute} {}-23/{hours} * * *", hour % hours),
        Interval::Week => format!("{minute} {hour} * * {day}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The minutes of a week at which a schedule starts Jobs.
    fn starts(schedule: &str) -> Vec<u64> {
        let fields: Vec<&str> = schedule.split(' ').collect();
        let [minute, hour, "*", "*", day] = fields[..] else { panic!("{schedule}") };
        let values = |field: &str, count: u64| -> BTreeSet<u64> {
            let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{schedule}"));
            match field.split_once('/') {
                Some((range, step)) => {
                    let (from, to) = range.split_once('-').unwrap_or_else(|| panic!("{schedule}"));
                    assert!(number(to) < count, "{schedule}");
                    (number(from)..=number(to)).step_by(usize::try_from(number(step)).unwrap_or_default()).collect()
                }
                None if field == "*" => (0..count).collect(),
                None => BTreeSet::from([number(field)]),
            }
        };
        let (minutes, hours, days) = (values(minute, 60), values(hour, 24), values(day, 7));
        let is_start = |at: &u64| {
            minutes.contains(&(at % 60)) && hours.contains(&(at / 60 % 24)) && days.contains(&(at / (60 * 24)))
        };
        (0..7 * 24 * 60).filter(is_start).collect()
    }

    #[test]
    fn schedule_has_the_declared_interval_between_all_starts() {
        let minutes = [10, 12, 15, 20, 30].map(Interval::Minutes);
        let hours = [1, 2, 3, 4, 6, 8, 12, 24].map(Interval::Hours);
        for every in minutes.into_iter().chain(hours).chain([Interval::Week]) {
            for uid in ["", "a", "local:shop/retail", "8f14e45f-ceea-467f-a8b1-2f4e1f0c3d2b"] {
                let schedule = schedule(every, uid);
                let starts = starts(&schedule);
                let length = every.length().as_secs() / 60;
                let week = 7 * 24 * 60;
                assert_eq!(starts.len() as u64, week / length, "{every:?}: {schedule}");
                let next = starts.iter().skip(1).copied().chain([starts[0] + week]);
                assert!(starts.iter().zip(next).all(|(start, next)| next - start == length), "{every:?}: {schedule}");
            }
        }
    }

    #[test]
    fn pipelines_start_at_different_times() {
        let schedules: BTreeSet<String> =
            (0..100).map(|number| schedule(Interval::Hours(6), &format!("uid-{number}"))).collect();
        assert!(schedules.len() > 50, "{schedules:?}");
    }
}
