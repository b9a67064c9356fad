//! The metrics of a processor. docs/reference/metrics.md lists them as they are described here.

use retail_runtime::metrics::Kind::{Counter, Gauge, Histogram, Info};
use retail_runtime::metrics::{Label, Metric};

/// All metrics, in the order of the page.
pub const METRICS: &[&Metric] = &[
    &RECORDS,
    &REJECTED,
    &LAG,
    &UNREAD,
    &SECONDS_BEHIND,
    &LIMITED_BY,
    &COMMITS,
    &COMMIT_SECONDS,
    &LAST_COMMIT,
    &RECORD_CHECKS,
    &WATERMARK,
    &WATERMARK_AGE,
    &WATERMARK_HELD,
    &OPEN_WINDOWS,
    &CLOSES,
    &LATENESS,
    &DEAD_LETTERS,
    &DEAD_LETTER_BYTES,
    &IDS,
    &ID_BYTES,
    &SCHEMA_LOOKUPS,
    &SCHEMA_WAITS,
    &OUTPUT_DROPPED,
    &BUILD,
];

const PARTITION: Label = Label { name: "partition", meaning: "number of the partition", values: &[] };

pub(super) const RECORDS: Metric = Metric {
    name: "retail_records",
    kind: Counter,
    unit: "records",
    help: "Committed records, by fate",
    labels: &[Label {
        name: "fate",
        meaning: "[fates](events.md#fates)",
        values: &[
            ("applied", "added to a window"),
            ("late", "its window was closed"),
            ("invalid", ""),
            ("future", "too far ahead of the timestamp of the record"),
            ("filtered", "not selected by the pipeline"),
            ("duplicate", "has the transaction id of an earlier record"),
        ],
    }],
};

pub(super) const REJECTED: Metric = Metric {
    name: "retail_rejected",
    kind: Counter,
    unit: "records",
    help: "Committed records that are invalid, late or future, by reason",
    labels: &[Label {
        name: "reason",
        meaning: "`late`, `future`, or [why a record is invalid](../how-to/send-your-own-events.md#rejected-records)",
        values: &[],
    }],
};

pub(super) const LAG: Metric = Metric {
    name: "retail_consumer_lag_records",
    kind: Gauge,
    unit: "records",
    help: "Records in the log that are not committed to Postgres, for all partitions of the topic. It grows until each commit. All \
           processors of a pipeline report the same within seconds: take the maximum by partition before a sum",
    labels: &[PARTITION],
};

pub(super) const UNREAD: Metric = Metric {
    name: "retail_unread_records",
    kind: Gauge,
    unit: "records",
    help: "Records in the log that are not read, for the partitions of this process. A partition without this metric has no reader",
    labels: &[PARTITION],
};

pub(super) const SECONDS_BEHIND: Metric = Metric {
    name: "retail_seconds_behind",
    kind: Gauge,
    unit: "seconds",
    help: "Unread records of this process, divided by the records appended or read per second, whichever is more. Missing for some \
           seconds after partitions have moved",
    labels: &[],
};

pub(super) const LIMITED_BY: Metric = Metric {
    name: "retail_limited_by",
    kind: Gauge,
    unit: "share, 0 to 1",
    help: "Share of the time in which reading waited, by cause. Missing for some seconds after partitions have moved",
    labels: &[Label { name: "cause", meaning: "", values: &[("database", "for a commit to Postgres")] }],
};

pub(super) const COMMITS: Metric = Metric {
    name: "retail_commits",
    kind: Counter,
    unit: "commits",
    help: "Commits, by result",
    labels: &[Label {
        name: "result",
        meaning: "",
        values: &[
            ("committed", ""),
            ("fenced", "refused, because a partition has a new owner or its lateness floor was raised"),
            ("failed", "to be retried"),
        ],
    }],
};

pub(super) const COMMIT_SECONDS: Metric = Metric {
    name: "retail_commit_duration_seconds",
    kind: Histogram,
    unit: "seconds",
    help: "Time from handing over a batch to its commit, including retries",
    labels: &[],
};

pub(super) const LAST_COMMIT: Metric = Metric {
    name: "retail_last_commit_timestamp_seconds",
    kind: Gauge,
    unit: "seconds since 1970",
    help: "Time of the last commit of this process. Missing before the first one",
    labels: &[],
};

pub(super) const RECORD_CHECKS: Metric = Metric {
    name: "retail_record_checks",
    kind: Counter,
    unit: "records",
    help: "Last committed records that were read again, by result",
    labels: &[Label {
        name: "result",
        meaning: "",
        values: &[
            ("same", ""),
            ("deleted", "the log starts after the record"),
            ("compacted", "the record is missing in a compacted topic"),
            ("replaced", "the log contains other records, and the processor stops"),
            ("unanswered", "Kafka did not answer, to be retried"),
        ],
    }],
};

pub(super) const WATERMARK: Metric = Metric {
    name: "retail_watermark_timestamp_seconds",
    kind: Gauge,
    unit: "seconds since 1970",
    help: "The watermark: event time up to which the data is complete. Missing until it is known",
    labels: &[],
};

pub(super) const WATERMARK_AGE: Metric = Metric {
    name: "retail_watermark_age_seconds",
    kind: Gauge,
    unit: "seconds",
    help: "Time for which windows have stayed open that should be closed; 0 if nothing holds them",
    labels: &[],
};

pub(super) const WATERMARK_HELD: Metric = Metric {
    name: "retail_watermark_held_seconds",
    kind: Gauge,
    unit: "seconds",
    help: "Time for which windows have stayed open that should be closed, by partition and reason. Missing if nothing holds them. All \
           processors of a pipeline report the same",
    labels: &[
        Label { name: "partition", meaning: "empty if the reason concerns no single one", values: &[] },
        Label {
            name: "reason",
            meaning: "[cause of the hold](../how-to/windows-stay-open.md)",
            values: &[
                ("open_transaction", "a Kafka transaction neither commits nor aborts"),
                ("backlog", "records are not processed"),
                ("silence", "no new valid event, and not idle yet"),
                ("clock", "the clocks of Postgres and of a processor differ"),
                ("closing", "closing windows fails or waits"),
            ],
        },
    ],
};

pub(super) const OPEN_WINDOWS: Metric = Metric {
    name: "retail_open_windows",
    kind: Gauge,
    unit: "windows",
    help: "Windows with rows that are not closed",
    labels: &[],
};

pub(super) const CLOSES: Metric = Metric {
    name: "retail_closes",
    kind: Counter,
    unit: "attempts",
    help: "Attempts to close windows, to compact the delta log and to drop old months, by result",
    labels: &[Label {
        name: "result",
        meaning: "",
        values: &[("ok", "also without a window to close"), ("failed", "to be retried")],
    }],
};

pub(super) const LATENESS: Metric = Metric {
    name: "retail_event_lateness_seconds",
    kind: Histogram,
    unit: "seconds",
    help: "Time by which an applied or late event is older than the latest event of its partition before it",
    labels: &[],
};

pub(super) const DEAD_LETTERS: Metric = Metric {
    name: "retail_dead_letters",
    kind: Gauge,
    unit: "dead letters",
    help: "Dead letters of the pipeline, updated once a minute",
    labels: &[],
};

pub(super) const DEAD_LETTER_BYTES: Metric = Metric {
    name: "retail_dead_letters_bytes",
    kind: Gauge,
    unit: "bytes",
    help: "Size of the dead letters of the pipeline: payloads, and 128 bytes for each. Updated once a minute",
    labels: &[],
};

pub(super) const IDS: Metric = Metric {
    name: "retail_deduplication_ids",
    kind: Gauge,
    unit: "ids",
    help: "Transaction ids that this process keeps. Only with spec.deduplicate",
    labels: &[PARTITION],
};

pub(super) const ID_BYTES: Metric = Metric {
    name: "retail_deduplication_bytes",
    kind: Gauge,
    unit: "bytes",
    help: "Memory of the transaction ids that this process keeps. Only with spec.deduplicate",
    labels: &[PARTITION],
};

pub(super) const SCHEMA_LOOKUPS: Metric = Metric {
    name: "retail_schema_lookups",
    kind: Counter,
    unit: "searches",
    help: "Searches for the schemas of records, by result. Only for formats with schemas",
    labels: &[Label {
        name: "result",
        meaning: "",
        values: &[
            ("stored", "found in Postgres"),
            ("found", "returned by the registry, and stored"),
            ("unusable", "returned by the registry, but beyond the limits, and stored as that"),
            ("unknown", "the registry does not have the id, which was stored"),
            ("failed", "no answer, to be retried"),
        ],
    }],
};

pub(super) const SCHEMA_WAITS: Metric = Metric {
    name: "retail_schema_waiting_partitions",
    kind: Gauge,
    unit: "partitions",
    help: "Partitions of this process whose next record waits for its schema. Only for formats with schemas",
    labels: &[],
};

pub(super) const OUTPUT_DROPPED: Metric = Metric {
    name: "retail_output_dropped",
    kind: Counter,
    unit: "lines",
    help: "Lines that were dropped, because the reader of the output does not read",
    labels: &[Label { name: "output", meaning: "", values: &[("stderr", "log lines"), ("stdout", "printed rows")] }],
};

pub(super) const BUILD: Metric = Metric {
    name: "retail_build",
    kind: Info,
    unit: "",
    help: "Version of this program",
    labels: &[Label { name: "version", meaning: "such as `0.1.0`", values: &[] }],
};
