//! The contents of the store, read in one transaction.

use bigdecimal::BigDecimal;
use chrono::{DateTime, Duration, Utc};
use retail_runtime::args::Settings;
use retail_store::{DatabaseError, Session, TransactionMode, provision};

/// Deadline of a query: the server reads and sorts everything before it sends the first row.
const READ_TIMEOUT: std::time::Duration = std::time::Duration::from_mins(10);

/// Maximum number of open windows whose running totals are read from `retail`.
const MAX_OPEN_WINDOWS: i64 = 64;

/// The contents of the store, as one transaction sees them.
pub(super) struct Snapshot {
    pub(super) topic_id: Option<String>,
    /// Windows that end at or before this time are closed.
    pub(super) closed_until: DateTime<Utc>,
    /// Windows that end at or before this time receive no more events, and some of their rows may be closed.
    pub(super) closing_until: DateTime<Utc>,
    /// Rows of windows that start before this time were dropped on purpose.
    pub(super) retained_from: DateTime<Utc>,
    pub(super) partitions: Vec<Partition>,
    pub(super) rows: Vec<Row>,
    /// In order of partition and offset.
    pub(super) dead_letters: Vec<DeadLetter>,
}

pub(super) struct Partition {
    pub(super) partition: i32,
    pub(super) start_offset: i64,
    pub(super) next_offset: i64,
    pub(super) max_observed: Option<DateTime<Utc>>,
    pub(super) floor: DateTime<Utc>,
    /// applied, late, invalid, future, gaps of the ledger.
    pub(super) counts: [i64; 5],
    pub(super) balanced: bool,
    /// The rules and the offsets from which they apply, in order.
    pub(super) rules: Vec<Rule>,
}

pub(super) struct Rule {
    pub(super) offset: i64,
    pub(super) floor: DateTime<Utc>,
    pub(super) max_future: Duration,
}

pub(super) struct DeadLetter {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) reason: String,
    pub(super) category: Option<String>,
    pub(super) payment_method: Option<String>,
    pub(super) quantity: Option<i64>,
    pub(super) amount: Option<BigDecimal>,
    pub(super) missed_by: Option<Duration>,
}

pub(super) struct Row {
    pub(super) window_start: DateTime<Utc>,
    pub(super) window_end: DateTime<Utc>,
    pub(super) category: String,
    pub(super) payment_method: String,
    pub(super) avg_price: BigDecimal,
    pub(super) total_quantity: i64,
    pub(super) total_amount: BigDecimal,
    pub(super) running_total: BigDecimal,
    pub(super) is_final: bool,
    pub(super) events: i64,
    /// Of a final row.
    pub(super) price_sum: Option<BigDecimal>,
}

pub(super) async fn take(settings: &Settings) -> Result<Snapshot, DatabaseError> {
    let database = settings.database.clone().with_max_answer(u64::MAX);
    let mut session = database.connect("retail verify").await?.with_statement_timeout(READ_TIMEOUT);
    let transaction = session.transaction(TransactionMode::Snapshot).await?;
    let identity = provision::check_rules(&transaction, &settings.pipeline).await?;
    read(&transaction, identity.topic_id).await
}

async fn read(session: &Session, topic_id: Option<String>) -> Result<Snapshot, DatabaseError> {
    let closed = "SELECT closed_until, closing_until, retained_from FROM {schema}.pipeline";
    let closed = session.query_one(closed, &[]).await?;
    let partitions = "
        SELECT partition, start_offset, next_offset, max_observed_time, lateness_floor,
               ARRAY[l.applied, l.late, l.invalid, l.future, l.gaps] AS counts, l.balanced
        FROM {schema}.partition_progress JOIN {schema}.ledger l USING (partition) ORDER BY partition";
    let mut partitions: Vec<Partition> = session.query(partitions, &[]).await?.iter().map(partition).collect();
    let rules = "
        SELECT partition, \"offset\", lateness_floor, (extract(epoch FROM max_future) * 1000000)::bigint AS max_future
        FROM {schema}.fate_rules ORDER BY partition, \"offset\"";
    for row in session.query(rules, &[]).await? {
        let rule = Rule {
            offset: row.get("offset"),
            floor: row.get("lateness_floor"),
            max_future: Duration::microseconds(row.get("max_future")),
        };
        if let Some(partition) = partitions.iter_mut().find(|p| p.partition == row.get::<_, i32>("partition")) {
            partition.rules.push(rule);
        }
    }
    let rows = format!(
        "
        SELECT r.window_start, r.window_end, r.category, r.payment_method, r.avg_price::text, r.total_quantity,
               r.total_amount::text, r.running_total::text, r.final, r.events, f.price_sum::text
        FROM {source} r
        LEFT JOIN {{schema}}.final_rows f
            ON f.window_start = r.window_start AND f.d1 = r.category AND f.d2 = r.payment_method
        ORDER BY r.window_start, r.category COLLATE \"C\", r.payment_method COLLATE \"C\"",
        source = rows_source(session).await?,
    );
    let rows = collect(session, &rows, retail_row).await?;
    let dead_letters = "
        SELECT partition, \"offset\", reason, d1, d2, quantity, amount::text,
               (extract(epoch FROM missed_by) * 1000000)::bigint AS missed_by
        FROM {schema}.dead_letter ORDER BY partition, \"offset\"";
    let dead_letters = collect(session, dead_letters, dead_letter).await?;
    let (closed_until, closing_until) = (closed.get("closed_until"), closed.get("closing_until"));
    let retained_from = closed.get("retained_from");
    Ok(Snapshot { topic_id, closed_until, closing_until, retained_from, partitions, rows, dead_letters })
}

/// The view `retail`, or its two halves if there are many open windows: the running totals of its open rows cost rows × open
/// windows.
async fn rows_source(session: &Session) -> Result<&'static str, DatabaseError> {
    let count = "SELECT count(DISTINCT window_start) FROM {schema}.delta_log";
    let open_windows: i64 = session.query_one(count, &[]).await?.get(0);
    Ok(if open_windows <= MAX_OPEN_WINDOWS {
        "{schema}.retail"
    } else {
        "(SELECT * FROM {schema}.retail WHERE final UNION ALL SELECT * FROM {schema}.retail_open_all)"
    })
}

/// Converts each row as it arrives.
async fn collect<T>(
    session: &Session,
    query: &str,
    convert: impl Fn(&retail_store::Row) -> T,
) -> Result<Vec<T>, DatabaseError> {
    let mut rows = session.stream(query, &[]).await?;
    let mut converted = Vec::new();
    while let Some(row) = rows.next().await? {
        converted.push(convert(&row));
    }
    Ok(converted)
}

fn partition(row: &retail_store::Row) -> Partition {
    let counts: Vec<i64> = row.get("counts");
    Partition {
        partition: row.get("partition"),
        start_offset: row.get("start_offset"),
        next_offset: row.get("next_offset"),
        max_observed: row.get("max_observed_time"),
        floor: row.get("lateness_floor"),
        counts: counts.try_into().expect("the query makes an array of five"),
        balanced: row.get("balanced"),
        rules: Vec::new(),
    }
}

fn retail_row(row: &retail_store::Row) -> Row {
    let decimal = |column: &str| row.get::<_, &str>(column).parse().expect("NUMERIC prints a decimal");
    Row {
        window_start: row.get("window_start"),
        window_end: row.get("window_end"),
        category: row.get("category"),
        payment_method: row.get("payment_method"),
        avg_price: decimal("avg_price"),
        total_quantity: row.get("total_quantity"),
        total_amount: decimal("total_amount"),
        running_total: decimal("running_total"),
        is_final: row.get("final"),
        events: row.get("events"),
        price_sum: row.get::<_, Option<&str>>("price_sum").map(|sum| sum.parse().expect("NUMERIC prints a decimal")),
    }
}

fn dead_letter(row: &retail_store::Row) -> DeadLetter {
    let amount: Option<&str> = row.get("amount");
    DeadLetter {
        partition: row.get("partition"),
        offset: row.get("offset"),
        reason: row.get("reason"),
        category: row.get("d1"),
        payment_method: row.get("d2"),
        quantity: row.get("quantity"),
        amount: amount.map(|amount| amount.parse().expect("NUMERIC prints a decimal")),
        missed_by: row.get::<_, Option<i64>>("missed_by").map(Duration::microseconds),
    }
}
