//! Final rows are stored by month.

use retail_testbed::{Case, CaseBuilder, Feeder, Postgres};

pub(crate) const DAY: i64 = 86_400;

/// The days of 2025 on which months begin.
pub(crate) const FEBRUARY: i64 = 31 * DAY;
pub(crate) const MARCH: i64 = 59 * DAY;

/// The last day that a purchase can have.
const LAST: i64 = 251_666_524_800;

/// Windows of a day close when the next event arrives.
fn days(case: CaseBuilder) -> CaseBuilder {
    case.partitions(1).spec("window: 24h").spec("watermark: {delay: 0s}")
}

/// The partitions of final rows, with their number of rows and their bounds.
async fn months(case: &Case) -> Vec<String> {
    let select = "
        SELECT concat_ws(' ', c.relname, pg_get_expr(c.relpartbound, c.oid),
                         (SELECT count(*) FROM final_rows f WHERE f.tableoid = c.oid))
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'final_rows'::regclass
        ORDER BY c.relname";
    case.query(select).await.iter().map(|row| row.get(0)).collect()
}

/// Commits an event of one group at each of these seconds since the beginning of 2025, and closes their windows but the last.
async fn close(feeder: &mut Feeder, seconds: &[i64]) -> i64 {
    feeder.purchases(0, "1", seconds);
    feeder.commit(&[]).await.unwrap();
    feeder.close().await.closed_rows
}

async fn owner(case: &Case) -> Feeder {
    let mut feeder = Feeder::new(case, "a").await;
    feeder.claim(&[0]).await;
    feeder
}

#[tokio::test]
async fn close_creates_each_month_in_utc_before_its_first_row() {
    // Neither the zone nor the notation of the session's times matter: a month has another length in a zone with summer time.
    let options = "options=-c%20TimeZone%3DAmerica/New_York%20-c%20DateStyle%3DSQL,DMY";
    let url = format!("{}?{options}", Postgres::shared().url());
    let case = days(Case::shared()).start().await;
    let mut feeder = owner(&case.with_database(&url)).await;
    // At the first start, events of any age are accepted. Later ones jump by years.
    let seconds = [-801_600_000, 30 * DAY, FEBRUARY, MARCH - 1, MARCH, 7000 * DAY, LAST - DAY];
    assert_eq!(close(&mut feeder, &seconds).await, 6);
    let month = |name, from, to, rows| {
        format!("final_rows_{name} FOR VALUES FROM ('{from} 00:00:00+00') TO ('{to} 00:00:00+00') {rows}")
    };
    let mut expected = vec![
        month("1999_08", "1999-08-01", "1999-09-01", 1),
        month("2025_01", "2025-01-01", "2025-02-01", 1),
        month("2025_02", "2025-02-01", "2025-03-01", 2),
        month("2025_03", "2025-03-01", "2025-04-01", 1),
        month("2044_03", "2044-03-01", "2044-04-01", 1),
    ];
    assert_eq!(months(&case).await, expected);
    assert_eq!(close(&mut feeder, &[LAST]).await, 1);
    expected.push(month("9999_12", "9999-12-01", "10000-01-01", 1));
    let last = "SELECT trim_scale(running_total) FROM retail WHERE final ORDER BY window_start DESC LIMIT 1";
    assert_eq!((months(&case).await, case.text(last).await), (expected, "7".to_owned()));
}

#[tokio::test]
async fn long_reader_delays_no_close_into_a_new_month() {
    let case = days(Case::shared()).start().await;
    let mut feeder = owner(&case).await;
    close(&mut feeder, &[0, DAY]).await;
    let reader = case.client().await;
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let count = "SELECT count(*) FROM retail";
    assert_eq!(reader.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 2);
    // An error after the limit of a lock, if closing waited for the reader.
    assert_eq!(close(&mut feeder, &[FEBRUARY, MARCH, MARCH + DAY]).await, 3);
    assert_eq!(months(&case).await.len(), 3);
    assert_eq!(reader.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 2, "its snapshot");
    assert_eq!(case.text(count).await, "5");
    reader.batch_execute("ROLLBACK").await.unwrap();
}
