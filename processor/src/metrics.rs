//! /metrics: the state of the processor in the OpenMetrics text format, read at each scrape.

mod catalog;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

pub use catalog::METRICS;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use retail_engine::{BOUNDS_SECONDS, Counts, Lateness};
use retail_runtime::metrics::{Kind, Metric};
use retail_runtime::output::Stream;
use retail_store::{Hold, Load};

use crate::state::{Ids, PartitionView, State, View};

/// All metrics, in the OpenMetrics text format.
pub(crate) fn render(state: &Arc<State>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics(Arc::clone(state))));
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}

#[derive(Debug)]
struct Metrics(Arc<State>);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let View {
            offsets: _,
            counts,
            rejected,
            lateness,
            commits,
            closes,
            record_checks,
            partitions,
            lags,
            watermark,
            closed_until: _,
            open_windows,
            letters,
            last_commit,
            load,
            hold,
            ids,
            schema_lookups,
            schema_waits,
            missing_schemas: _,
            registry_failing: _,
            problems: _,
        } = self.0.view();
        let encoder = &mut encoder;

        let Counts { applied, late, invalid, future, filtered, duplicate, gaps: _ } = counts;
        let fates = [
            ("applied", applied),
            ("late", late),
            ("invalid", invalid),
            ("future", future),
            ("filtered", filtered),
            ("duplicate", duplicate),
        ];
        let fates = fates.map(|(fate, count)| (fate, count.unsigned_abs()));
        counters(encoder, &catalog::RECORDS, fates)?;
        counters(encoder, &catalog::REJECTED, rejected)?;
        counters(encoder, &catalog::COMMITS, commits)?;
        counters(encoder, &catalog::CLOSES, closes)?;
        counters(encoder, &catalog::RECORD_CHECKS, record_checks)?;

        lag(encoder, &partitions, lags)?;
        if let Some(load) = load {
            self::load(encoder, &load)?;
        }
        if let Some(watermark) = watermark {
            let seconds = watermark.as_micros() as f64 / 1e6;
            metric(encoder, &catalog::WATERMARK)?.encode_gauge(&seconds)?;
        }
        watermark_hold(encoder, hold.as_ref())?;
        self::lateness(metric(encoder, &catalog::LATENESS)?, &lateness)?;
        self.0.commit_seconds.0.encode(metric(encoder, &catalog::COMMIT_SECONDS)?)?;
        if let Some(since) = last_commit.and_then(|time| time.duration_since(UNIX_EPOCH).ok()) {
            metric(encoder, &catalog::LAST_COMMIT)?.encode_gauge(&since.as_secs_f64())?;
        }
        metric(encoder, &catalog::OPEN_WINDOWS)?.encode_gauge(&open_windows)?;
        if let Some((number, bytes)) = letters {
            metric(encoder, &catalog::DEAD_LETTERS)?.encode_gauge(&number)?;
            metric(encoder, &catalog::DEAD_LETTER_BYTES)?.encode_gauge(&bytes)?;
        }
        self::ids(encoder, &ids)?;
        if !schema_lookups.is_empty() || !schema_waits.is_empty() {
            counters(encoder, &catalog::SCHEMA_LOOKUPS, schema_lookups)?;
            let number = schema_waits.values().map(BTreeMap::len).sum::<usize>() as i64;
            metric(encoder, &catalog::SCHEMA_WAITS)?.encode_gauge(&number)?;
        }
        counters(encoder, &catalog::OUTPUT_DROPPED, Stream::ALL.map(|stream| (stream.name(), stream.dropped())))?;
        metric(encoder, &catalog::BUILD)?.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }
}

/// The lag of all partitions, of any owner, and the unread records of those that this process owns.
fn lag(
    encoder: &mut DescriptorEncoder<'_>,
    owned: &BTreeMap<i32, PartitionView>,
    mut lags: BTreeMap<i32, i64>,
) -> std::fmt::Result {
    // The values of owned partitions are newer.
    lags.extend(owned.iter().filter_map(|(partition, view)| Some((*partition, view.lag()?))));
    by_partition(metric(encoder, &catalog::LAG)?, lags)?;
    let unread = owned.iter().filter_map(|(partition, view)| Some((*partition, view.unread()?)));
    by_partition(metric(encoder, &catalog::UNREAD)?, unread)
}

/// How far this process is behind, and whether Postgres limits it.
fn load(encoder: &mut DescriptorEncoder<'_>, load: &Load) -> std::fmt::Result {
    metric(encoder, &catalog::SECONDS_BEHIND)?.encode_gauge(&load.seconds_behind())?;
    let mut limited = metric(encoder, &catalog::LIMITED_BY)?;
    limited.encode_family(&[("cause", "database")])?.encode_gauge(&load.database_share)
}

fn by_partition(mut family: MetricEncoder<'_>, values: impl IntoIterator<Item = (i32, i64)>) -> std::fmt::Result {
    for (partition, records) in values {
        family.encode_family(&[("partition", partition.to_string())])?.encode_gauge(&records)?;
    }
    Ok(())
}

/// The transaction ids that this process keeps; without deduplication, nothing.
fn ids(encoder: &mut DescriptorEncoder<'_>, workers: &BTreeMap<String, BTreeMap<i32, Ids>>) -> std::fmt::Result {
    let mut partitions = BTreeMap::<i32, Ids>::new();
    for (partition, Ids { number, bytes }) in workers.values().flatten() {
        let sum = partitions.entry(*partition).or_default();
        sum.number += number;
        sum.bytes += bytes;
    }
    if partitions.is_empty() {
        return Ok(());
    }
    let each =
        |value: fn(&Ids) -> usize| partitions.iter().map(move |(partition, ids)| (*partition, value(ids) as i64));
    by_partition(metric(encoder, &catalog::IDS)?, each(|ids| ids.number))?;
    by_partition(metric(encoder, &catalog::ID_BYTES)?, each(|ids| ids.bytes))
}

/// The age of the watermark, and the reason.
fn watermark_hold(encoder: &mut DescriptorEncoder<'_>, hold: Option<&(Hold, Instant)>) -> std::fmt::Result {
    let age = hold.map(|(hold, observed)| hold.age + observed.elapsed()).unwrap_or_default();
    metric(encoder, &catalog::WATERMARK_AGE)?.encode_gauge(&age.as_secs_f64())?;
    let mut held = metric(encoder, &catalog::WATERMARK_HELD)?;
    if let Some((Hold { reason, partition, .. }, _)) = hold {
        let partition = partition.map(|partition| partition.to_string()).unwrap_or_default();
        held.encode_family(&[("partition", partition.as_str()), ("reason", reason.as_str())])?
            .encode_gauge(&age.as_secs_f64())?;
    }
    Ok(())
}

fn metric<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    metric: &'static Metric,
) -> Result<MetricEncoder<'a>, std::fmt::Error> {
    let kind = match metric.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
        Kind::Info => MetricType::Info,
    };
    encoder.encode_descriptor(metric.name, metric.help, None, kind)
}

/// A counter for each value of the only label of a metric.
fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    metric: &'static Metric,
    counts: impl IntoIterator<Item = (&'static str, u64)>,
) -> std::fmt::Result {
    let [label] = metric.labels else { unreachable!("{} has one label", metric.name) };
    let mut family = self::metric(encoder, metric)?;
    for (value, count) in counts {
        debug_assert!(metric.has(label.name, value), "the catalog lacks {} of {}", value, metric.name);
        family.encode_family(&[(label.name, value)])?.encode_counter::<[(&str, &str); 0], _, u64>(&count, None)?;
    }
    Ok(())
}

fn lateness(mut metric: MetricEncoder<'_>, lateness: &Lateness) -> std::fmt::Result {
    let bounds = BOUNDS_SECONDS.map(f64::from).into_iter().chain([f64::MAX]);
    let buckets: Vec<(f64, u64)> = bounds.zip(lateness.buckets).collect();
    let count = lateness.buckets.iter().sum();
    metric.encode_histogram::<[(&str, &str); 0]>(lateness.sum_micros as f64 / 1e6, count, &buckets, None)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use retail_engine::{Batch, Progress, SchemaId, Timestamp};
    use retail_store::{Closed, Commit, Expired, HoldReason};
    use retail_testbed::metric_differences;

    use super::*;

    /// The state of a process that has committed and closed.
    fn observed() -> Arc<State> {
        let state = Arc::new(State::default());
        state.claimed(3, 10);
        state.log_ends(&[0, 0, 0, 25]);
        state.positions([(3, 23), (4, 99)]);
        state.lags(BTreeMap::from([(3, 15), (4, 6)]));
        state.ids("worker-0", [(3, 7, 200)]);
        state.ids("worker-1", [(3, 1, 50), (4, 2, 60)]);
        let counts = Counts { applied: 7, late: 1, invalid: 2, ..Counts::default() };
        let progress = Progress { partition: 3, from: 10, to: 20, max_observed: None, floor: Timestamp::EPOCH, counts };
        let mut batch = Batch { partitions: vec![progress], ..Batch::default() };
        batch.lateness.buckets[2] = 8;
        batch.lateness.sum_micros = 40_000_000;
        state.committed(&Commit { batch, ..Commit::default() }, Duration::from_millis(2));
        state.closed(&Closed {
            watermark: Some(Timestamp::from_secs(1000)),
            held_by: Some(3),
            clock_ahead: None,
            closed_until: Timestamp::from_secs(900),
            closing_until: Timestamp::from_secs(900),
            closed_rows: 1,
            open_windows: 2,
            failing: false,
        });
        state.close_failed();
        state.load(Some(Load {
            partitions: 1,
            unread: 30,
            read_per_second: 20.0,
            database_share: 0.25,
            ..Load::default()
        }));
        state.record_checked("compacted", 1);
        state
    }

    fn hold(partition: Option<i32>, reason: HoldReason) -> Hold {
        Hold { mark: "mark".to_owned(), reason, partition, detail: "text".to_owned(), age: Duration::from_secs(600) }
    }

    #[test]
    fn metrics_show_committed_counts() {
        let text = render(&observed());
        for line in [
            "retail_records_total{fate=\"applied\"} 7",
            "retail_records_total{fate=\"future\"} 0",
            "retail_rejected_total{reason=\"late\"} 1",
            "retail_commits_total{result=\"committed\"} 1",
            "retail_closes_total{result=\"ok\"} 1",
            "retail_closes_total{result=\"failed\"} 1",
            "retail_record_checks_total{result=\"compacted\"} 1",
            "retail_consumer_lag_records{partition=\"3\"} 5",
            "retail_consumer_lag_records{partition=\"4\"} 6",
            "retail_unread_records{partition=\"3\"} 2",
            "retail_seconds_behind 1.5",
            "retail_limited_by{cause=\"database\"} 0.25",
            "retail_deduplication_ids{partition=\"3\"} 8",
            "retail_deduplication_bytes{partition=\"4\"} 60",
            "retail_watermark_timestamp_seconds 1000.0",
            "retail_event_lateness_seconds_bucket{le=\"5.0\"} 0",
            "retail_event_lateness_seconds_bucket{le=\"10.0\"} 8",
            "retail_event_lateness_seconds_bucket{le=\"+Inf\"} 8",
            "retail_event_lateness_seconds_sum 40.0",
            "retail_commit_duration_seconds_count 1",
            "retail_open_windows 2",
            "retail_watermark_age_seconds 0.0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("retail_unread_records{partition=\"4\"}"), "another process reads it");
        assert!(!text.contains("retail_watermark_held_seconds{"), "nothing holds the watermark");
        assert!(
            text.contains("retail_build_info{version=\"") && text.contains("retail_last_commit_timestamp_seconds ")
        );
    }

    #[test]
    fn exposed_metrics_are_those_of_the_catalog() {
        let state = observed();
        state.letters(Expired { deleted: 0, letters: 3, bytes: 500 });
        state.held(Some(hold(Some(3), HoldReason::Silence)));
        state.schema_waits("worker-0", BTreeMap::from([(3, SchemaId::Number(7))]));
        state.schema_looked_up("stored");
        assert_eq!(metric_differences(&render(&state), METRICS), [""; 0]);
    }

    #[test]
    fn held_watermark_has_an_age_that_grows() {
        let state = Arc::new(State::default());
        for (partition, reason, labels) in [
            (Some(3), HoldReason::OpenTransaction, "partition=\"3\",reason=\"open_transaction\""),
            (None, HoldReason::Closing, "partition=\"\",reason=\"closing\""),
        ] {
            state.held(Some(hold(partition, reason)));
            let value = |name: &str| -> f64 {
                let text = render(&state);
                let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
                value.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
            };
            let (age, held) = ("retail_watermark_age_seconds", format!("retail_watermark_held_seconds{{{labels}}}"));
            let before = value(age);
            assert!(before > 600.0 && value(&held) > before && value(age) > before);
        }
    }
}
