//! Names the rows that differ in a range of windows: replays the topic once more, and keeps the rows of this range only.

use std::cmp::Ordering;

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use chrono::{DateTime, Utc};
use retail_oracle::{OracleRow, OracleRows};
use retail_runtime::args::Settings;
use retail_store::{DatabaseError, Session, TransactionMode, Type, provision, render};

use crate::differences::Differences;
use crate::error::VerifyError;
use crate::mapping;
use crate::replay::Replay;
use crate::start::Start;
use crate::state::{self, State};
use crate::units::time;

/// A row of `retail`.
struct Row {
    window_start: DateTime<Utc>,
    dimensions: Vec<String>,
    avg_price: BigDecimal,
    total_quantity: i64,
    total_amount: BigDecimal,
    /// The further sums.
    more: Vec<BigDecimal>,
    events: i64,
    /// Of a final row.
    price_sum: Option<BigDecimal>,
}

/// Compares the rows of the windows that start from `from` and before `until`, in microseconds.
pub(crate) async fn name(settings: &Settings, from: i64, until: i64) -> Result<Differences, VerifyError> {
    let mut session = settings.database.clone().with_max_answer(u64::MAX).connect("retail verify").await?;
    let transaction = session.transaction(TransactionMode::Snapshot).await?;
    let identity = provision::check_rules(&transaction, &settings.pipeline).await?;
    let state = state::read(&transaction, settings, &identity).await?;
    let rows = read(&transaction, &state, from, until).await?;
    transaction.rollback().await?;
    let settings = settings.clone();
    let sums = settings.pipeline.layout.sums().to_vec();
    let expected = tokio::task::spawn_blocking(move || expected(&settings, &state, from, until));
    Ok(compare(&rows, &expected.await.expect("verification does not panic")?, &sums))
}

async fn read(session: &Session, state: &State, from: i64, until: i64) -> Result<Vec<Row>, DatabaseError> {
    // The view would fail for a final row without events.
    let select = "
        SELECT u.window_start, ARRAY[{dimensions: u.d#}] AS dimensions, u.avg_price::text, u.quantity, u.amount::text, u.events,
               u.price_sum::text, ARRAY[{sums: u.sum#::text}]::text[] AS more
        FROM (
            SELECT f.window_start, {dimensions: f.d#},
                   CASE WHEN f.events > 0 THEN {schema}.average(f.price_sum, f.events) END AS avg_price, f.quantity, f.amount,
                   f.events, f.price_sum{each sum:, f.sum#}
            FROM {schema}.final_rows f
            UNION ALL
            SELECT r.window_start, {dimensions: r.@}, r.avg_price, r.total_quantity, r.total_amount, r.events, NULL{each sum:, r.@}
            FROM {schema}.retail r WHERE NOT r.final
        ) u
        WHERE u.window_start >= $1 AND u.window_start < $2
        ORDER BY u.window_start, {dimensions: u.d# COLLATE \"C\"}";
    let range = [(time(from), Type::TIMESTAMPTZ), (time(until), Type::TIMESTAMPTZ)];
    let parameters: Vec<_> =
        range.iter().map(|(time, kind)| (time as &(dyn retail_store::ToSql + Sync), kind.clone())).collect();
    let mut stream = session.stream(&render(select, &state.columns), &parameters).await?;
    let mut rows = Vec::new();
    while let Some(row) = stream.next().await? {
        let decimal = |column: &str| row.get::<_, Option<&str>>(column).and_then(|text| text.parse().ok());
        rows.push(Row {
            window_start: row.get("window_start"),
            dimensions: row.get("dimensions"),
            avg_price: decimal("avg_price").unwrap_or_default(),
            total_quantity: row.get("quantity"),
            total_amount: decimal("amount").unwrap_or_default(),
            more: row.get::<_, Vec<&str>>("more").iter().map(|sum| sum.parse().unwrap_or_default()).collect(),
            events: row.get("events"),
            price_sum: decimal("price_sum"),
        });
    }
    Ok(rows)
}

fn expected(settings: &Settings, state: &State, from: i64, until: i64) -> Result<Vec<OracleRow>, VerifyError> {
    let judge = mapping::judge(&settings.pipeline, state.window, state.delay);
    let partitions = state.partitions.iter().map(|partition| (partition, Start::beginning(partition))).collect();
    let mut rows = OracleRows::default();
    let replay = Replay { settings, judge, partitions };
    replay.run(&|_, _| {}, &mut |judged| {
        if let Some(event) = &judged.judgement.event
            && !judged.judgement.is_dead()
            && (from..until).contains(&event.window_start.timestamp_micros())
        {
            rows.add(event.clone());
        }
    })?;
    Ok(rows.rows(state.window))
}

fn compare(rows: &[Row], expected: &[OracleRow], sums: &[String]) -> Differences {
    let mut differences = Differences::default();
    let (mut are, mut should_be) = (rows.iter().peekable(), expected.iter().peekable());
    loop {
        let order = match (are.peek(), should_be.peek()) {
            (None, None) => return differences,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(is), Some(expected)) => key(is).cmp(&expected_key(expected)),
        };
        let is = (order != Ordering::Greater).then(|| are.next()).flatten();
        let expected = (order != Ordering::Less).then(|| should_be.next()).flatten();
        match (is, expected) {
            (Some(is), None) => differences.add(|| format!("{}: unexpected row", place(key(is)))),
            (None, Some(expected)) => differences.add(|| format!("{}: missing row", place(expected_key(expected)))),
            (Some(is), Some(expected)) => compare_row(is, expected, sums, &mut differences),
            (None, None) => return differences,
        }
    }
}

fn compare_row(is: &Row, expected: &OracleRow, sums: &[String], differences: &mut Differences) {
    let place = place(key(is));
    differences.check(&place, "avg_price", &is.avg_price, &expected.avg_price);
    differences.check(&place, "total_quantity", &BigInt::from(is.total_quantity), &expected.total_quantity);
    differences.check(&place, "total_amount", &is.total_amount, &expected.total_amount);
    differences.check(&place, "events", &is.events, &expected.events);
    for (name, (is, expected)) in sums.iter().zip(is.more.iter().zip(&expected.more)) {
        differences.check(&place, name, is, expected);
    }
    if let Some(price_sum) = &is.price_sum {
        differences.check(&place, "price_sum", price_sum, &expected.price_sum);
    }
}

type Key<'a> = (DateTime<Utc>, &'a [String]);

fn key(row: &Row) -> Key<'_> {
    (row.window_start, &row.dimensions)
}

fn expected_key(row: &OracleRow) -> Key<'_> {
    (row.window_start, &row.dimensions)
}

fn place((window_start, dimensions): Key<'_>) -> String {
    format!("retail, window {}, {}", window_start.format("%F %T"), dimensions.join(", "))
}
