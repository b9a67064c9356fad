//! Writes the tables and the records of a round for the independent oracle, as JSON lines.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use retail_testbed::Case;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::layout::Layout;
use crate::schedule::Schedule;
use crate::tap::Records;
use crate::writers::Schemas;

/// The position of `fate_rules` in [`TABLES`].
const RULES: usize = 2;

/// The queries by table. Times are microseconds.
const TABLES: [(&str, &str); 7] = [
    (
        "settings",
        r#"SELECT micros("window") AS "window", micros(delay) AS delay, micros(closed_until) AS closed_until FROM pipeline"#,
    ),
    (
        "partition_progress",
        "SELECT partition, start_offset, next_offset, micros(max_observed_time) AS max_observed_time, applied, late, invalid,
                future, filtered, duplicate, gaps, letters FROM partition_progress",
    ),
    (
        "fate_rules",
        r#"SELECT partition, "offset", micros(lateness_floor) AS lateness_floor, micros(max_future) AS max_future, keeps_late,
                  dedup_from FROM fate_rules"#,
    ),
    (
        "retail",
        "SELECT micros(window_start) AS window_start, micros(window_end) AS window_end, ARRAY[DIMENSIONS] AS dimensions, events,
                avg_price, total_quantity, total_amount, ARRAY[SUMS]::numeric[] AS sums, running_total, final FROM retail",
    ),
    ("totals", "SELECT ARRAY[DIMENSIONS] AS dimensions, total_amount FROM totals"),
    (
        "dead_letter",
        r#"SELECT partition, "offset", reason, micros(event_time) AS event_time, micros(record_time) AS record_time,
                  ARRAY[LETTER_DIMENSIONS] AS dimensions, quantity, amount, micros(missed_by) AS missed_by, encode(payload, 'hex') AS payload FROM dead_letter"#,
    ),
    (
        "closes",
        "SELECT micros(closed_until) AS closed_until, partitions, next_offsets,
                ARRAY(SELECT micros(t) FROM unnest(max_observed) WITH ORDINALITY u(t, n) ORDER BY n) AS max_observed,
                ARRAY(SELECT micros(t) FROM unnest(idle_until) WITH ORDINALITY u(t, n) ORDER BY n) AS idle_until FROM closes",
    ),
];

/// Temporary functions: microseconds since 1970, and of an interval.
const FUNCTIONS: &str = "
    SET search_path TO SCHEMA, pg_temp;
    CREATE OR REPLACE FUNCTION pg_temp.micros(t timestamptz) RETURNS bigint LANGUAGE sql
        RETURN (extract(epoch FROM t) * 1000000)::bigint;
    CREATE OR REPLACE FUNCTION pg_temp.micros(i interval) RETURNS bigint LANGUAGE sql
        RETURN (extract(epoch FROM i) * 1000000)::bigint";

/// Rows of `fate_rules` as JSON, by partition and offset.
pub(crate) type Rules = BTreeMap<(i64, i64), String>;

/// The rules at present. A processor deletes those of records that Kafka has deleted; the oracle still judges these records.
pub(crate) async fn rules(case: &Case) -> Result<Rules> {
    let client = open(case).await?;
    read(&client, Layout::Tutorial, TABLES[RULES]).await?.into_iter().map(keyed).collect()
}

fn keyed(rule: String) -> Result<((i64, i64), String)> {
    let value: Value = serde_json::from_str(&rule)?;
    let number = |field: &str| value[field].as_i64().context("a rule has a partition and an offset");
    Ok(((number("partition")?, number("offset")?), rule))
}

async fn open(case: &Case) -> Result<Client> {
    let client = crate::servers::session(case.database_url()).await?;
    client.batch_execute(&FUNCTIONS.replace("SCHEMA", &format!("\"{}\"", case.settings.pipeline.schema))).await?;
    Ok(client)
}

async fn read(client: &Client, layout: Layout, (table, query): (&str, &str)) -> Result<Vec<String>> {
    let dimensions = layout.dimensions();
    let columns: Vec<String> = (1..=dimensions.len()).map(|number| format!("d{number}")).collect();
    let query = query
        .replace("micros(", "pg_temp.micros(")
        .replace("LETTER_DIMENSIONS", &columns.join(","))
        .replace("DIMENSIONS", &dimensions.join(","))
        .replace("SUMS", &layout.sums().join(","));
    let rows = client.query(&format!("SELECT row_to_json(t)::text FROM ({query}) t"), &[]).await;
    Ok(rows.with_context(|| format!("reading {table}"))?.iter().map(|row| row.get(0)).collect())
}

/// The part of the pipeline that the oracle reads itself.
fn spec(schedule: &Schedule) -> String {
    // Where the registry is does not matter.
    let events = schedule.layout.events("").unwrap_or_else(|| "null".to_owned());
    let within = json!(schedule.within_min.map(|minutes| minutes * 60_000_000));
    format!(r#"{{"table":"spec","row":{{"events":{events},"within":{within}}}}}"#)
}

/// Reads all tables in one snapshot, and adds the records, the schemas, and the rules that were deleted with records.
pub(crate) async fn dump(
    case: &Case,
    schedule: &Schedule,
    records: &Records,
    deleted: &Rules,
    schemas: &Schemas,
) -> Result<String> {
    let mut text = spec(schedule) + "\n";
    for (id, schema) in schemas {
        writeln!(text, "{}", json!({"table": "schemas", "row": {"id": id, "schema": schema}}))?;
    }
    let client = open(case).await?;
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    for (number, table) in TABLES.into_iter().enumerate() {
        let mut rows = read(&client, schedule.layout, table).await?;
        if number == RULES {
            let present: Rules = rows.iter().cloned().map(keyed).collect::<Result<_>>()?;
            rows.extend(deleted.iter().filter(|(key, _)| !present.contains_key(key)).map(|(_, rule)| rule.clone()));
        }
        for row in rows {
            writeln!(text, r#"{{"table":"{}","row":{row}}}"#, table.0)?;
        }
    }
    for ((partition, offset), record) in records {
        let value = record.value.as_ref().map_or(Value::Null, |value| Value::String(hex(value)));
        let row =
            json!({"partition": partition, "offset": offset, "timestamp_ms": record.timestamp_ms, "value": value});
        writeln!(text, "{}", json!({"table": "records", "row": row}))?;
    }
    Ok(text)
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
