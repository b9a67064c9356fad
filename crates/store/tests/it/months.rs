//! Final rows are stored by month, and old months are dropped.

use std::time::Duration;

use retail_connection::ErrorKind;
use retail_engine::Timestamp;
use retail_store::{MonthDrop, provision};
use retail_testbed::{Case, CaseBuilder, Feeder, Pooler, Postgres, at};

use crate::locks::{Readers, idle_transaction};

pub(crate) const DAY: i64 = 86_400;

/// The days of 2025 on which months begin.
pub(crate) const FEBRUARY: i64 = 31 * DAY;
pub(crate) const MARCH: i64 = 59 * DAY;
pub(crate) const MAY: i64 = 120 * DAY;

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

async fn drop_month(feeder: &mut Feeder) -> MonthDrop {
    let closed_until = feeder.close().await.closed_until;
    feeder.store.drop_month(closed_until).await.unwrap()
}

fn month(seconds: i64) -> MonthDrop {
    MonthDrop::Dropped(Timestamp::from_secs(at(seconds)))
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

#[tokio::test]
async fn crash_while_a_month_is_created_or_dropped_changes_nothing() {
    let case = days(Case::shared()).spec("retention: {finalRows: 31d}").start().await;
    let mut feeder = owner(&case).await;
    feeder.purchases(0, "1", &[0, FEBRUARY, MAY]);
    feeder.commit(&[]).await.unwrap();
    feeder.store.begin_close(true, retail_store::clock()).await.unwrap();
    feeder.store.session().batch("BEGIN").await.unwrap();
    feeder.store.close_step(true).await.unwrap();
    feeder.store.session().batch("ROLLBACK").await.unwrap();
    assert_eq!(months(&case).await.len(), 0);
    assert_eq!(feeder.close().await.closed_rows, 2);

    feeder.store.session().batch("BEGIN").await.unwrap();
    assert_eq!(drop_month(&mut feeder).await, month(0));
    feeder.store.session().batch("ROLLBACK").await.unwrap();
    let retained = "SELECT concat(retained_from, ' ', (SELECT count(*) FROM closes)) FROM pipeline";
    assert_eq!((months(&case).await.len(), &*case.text(retained).await), (2, "1970-01-01 00:00:00+00 1"));
    let mut another = owner(&case).await;
    assert_eq!(drop_month(&mut another).await, month(0));
    assert_eq!(drop_month(&mut another).await, month(FEBRUARY));
    assert_eq!(drop_month(&mut another).await, MonthDrop::NotDue);
    assert_eq!((months(&case).await.len(), &*case.text(retained).await), (0, "2025-03-01 00:00:00+00 1"));
}

#[tokio::test]
async fn month_is_dropped_when_all_of_it_is_old() {
    let case = days(Case::shared()).spec("retention: {finalRows: 31d}").start().await;
    let mut feeder = owner(&case).await;
    // One decision for each close.
    for day in [0, DAY, FEBRUARY, MARCH, MARCH + 2 * DAY] {
        close(&mut feeder, &[day]).await;
    }
    // The windows up to March 3 are closed: those of January 31 are not 31 days older.
    assert_eq!(drop_month(&mut feeder).await, MonthDrop::NotDue);
    close(&mut feeder, &[MARCH + 3 * DAY - 1, MARCH + 3 * DAY]).await;
    assert_eq!(drop_month(&mut feeder).await, month(0));
    assert_eq!(drop_month(&mut feeder).await, MonthDrop::NotDue);
    // Totals include the rows that are gone.
    let rows = case.retail().await;
    assert_eq!(rows[0], format!("{FEBRUARY} {} A 1 1 3 final", FEBRUARY + DAY));
    assert_eq!(case.text("SELECT trim_scale(total_amount) FROM totals").await, "6");
    // The decisions that closed only windows of January are gone too.
    let closes = "SELECT string_agg(to_char(closed_until, 'MM-DD'), ' ' ORDER BY closed_until) FROM closes";
    assert_eq!(case.text(closes).await, "03-01 03-03 03-04");
    // Without the field, nothing is dropped.
    let kept = days(Case::shared()).start().await;
    let mut feeder = owner(&kept).await;
    close(&mut feeder, &[0, 9000 * DAY]).await;
    assert_eq!((drop_month(&mut feeder).await, months(&kept).await.len()), (MonthDrop::NotDue, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_delays_only_the_drop_of_a_month() {
    let case = days(Case::shared()).spec("retention: {finalRows: 31d}").start().await;
    let mut feeder = owner(&case).await;
    close(&mut feeder, &[0, FEBRUARY, MAY]).await;
    let (idle, pid) = idle_transaction(&case).await;
    let readers = Readers::start(&case).await;
    let new_reader = case.client().await;
    for day in 1..=4 {
        let closed_until = feeder.close().await.closed_until;
        let both = async { tokio::join!(feeder.store.drop_month(closed_until), new_reader.query("TABLE retail", &[])) };
        let (dropped, read) = tokio::time::timeout(Duration::from_secs(30), both).await.expect("no reader is stuck");
        assert_eq!(read.unwrap().len() as i64, 2 + day);
        let error = dropped.unwrap_err();
        let said = format!(
            "a month of final rows cannot be dropped while session {pid} of user retail (application \"tableau\") reads them; \
             end that transaction"
        );
        assert_eq!((error.kind, error.message), (ErrorKind::Locked, said));
        assert_eq!(close(&mut feeder, &[MAY + day * DAY]).await, 1, "windows are closed");
    }
    println!("the longest read took {:?}", readers.stop().await);
    assert_eq!(months(&case).await.len(), 3);
    idle.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(drop_month(&mut feeder).await, month(0));
}

#[tokio::test]
async fn drop_leaves_a_running_close_alone() {
    let case = days(Case::shared()).spec("retention: {finalRows: 31d}").start().await;
    let mut feeder = owner(&case).await;
    close(&mut feeder, &[0, MAY, MAY + DAY]).await;
    let closer = owner(&case).await;
    closer.store.session().batch("BEGIN").await.unwrap();
    closer.store.close_step(true).await.unwrap();
    let closed_until = Timestamp::from_secs(at(MAY));
    assert_eq!(feeder.store.drop_month(closed_until).await.unwrap(), MonthDrop::Busy);
    closer.store.session().batch("COMMIT").await.unwrap();
    assert_eq!(feeder.store.drop_month(closed_until).await.unwrap(), month(0));
}

#[tokio::test]
async fn role_without_create_closes_and_drops_months() {
    let case = days(Case::shared()).spec("retention: {finalRows: 31d}").start().await;
    let superuser = case.client_at(&Postgres::shared().superuser_url()).await;
    let schema = &case.settings.pipeline.schema;
    let (runtime, reader) = (format!("runtime_{schema}"), format!("reader_{schema}"));
    // The statements of docs/reference/permissions.md.
    let roles = format!(
        "CREATE ROLE \"{runtime}\" LOGIN PASSWORD 'secret'; CREATE ROLE \"{reader}\" LOGIN PASSWORD 'secret';
         GRANT USAGE ON SCHEMA \"{schema}\" TO \"{runtime}\", \"{reader}\";
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \"{schema}\" TO \"{runtime}\";
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA \"{schema}\" TO \"{runtime}\";
         GRANT SELECT ON ALL TABLES IN SCHEMA \"{schema}\" TO \"{reader}\""
    );
    superuser.batch_execute(&roles).await.unwrap();
    let url = |role: &str| Postgres::shared().url().replace("retail:retail@", &format!("{role}:secret@"));
    let mut feeder = owner(&case.with_database(&url(&runtime))).await;
    assert_eq!(close(&mut feeder, &[0, FEBRUARY, MAY]).await, 2);
    assert_eq!(drop_month(&mut feeder).await, month(0));
    let refused = feeder.store.session().batch("CREATE TABLE {schema}.mine ()").await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Forbidden, "{refused}");
    // Months that did not exist at the time of the grant can be read, but readers cannot create or drop any.
    let reader = case.client_at(&url(&reader)).await;
    assert_eq!(reader.query_one("SELECT count(*) FROM retail WHERE final", &[]).await.unwrap().get::<_, i64>(0), 1);
    let identity = "(SELECT id || ' ' || uid FROM pipeline)";
    for call in [format!("make_month({identity}, now())"), format!("drop_month({identity}, '0s')")] {
        let refused = reader.batch_execute(&format!("SELECT {call}")).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "42501", "{call}: {refused:?}");
    }
}

#[tokio::test]
async fn months_survive_dump_and_restore() {
    let postgres = Postgres::private();
    let case = days(Case::on("127.0.0.1:1", &postgres.url())).spec("retention: {finalRows: 31d}").build();
    case.apply_schema().await;
    let mut feeder = owner(&case).await;
    close(&mut feeder, &[0, FEBRUARY, MARCH, MARCH + DAY]).await;
    let dump = postgres.dump(&[&format!("--schema={}", case.settings.pipeline.schema)]);
    let copy = case.with_database(&postgres.create_database("copy").await);
    postgres.restore("copy", &dump);
    assert!(
        provision::is_as_made(&copy.settings.database.connect("test").await.unwrap(), &copy.settings.pipeline)
            .await
            .unwrap()
    );
    assert_eq!((months(&copy).await, copy.retail().await), (months(&case).await, case.retail().await));
    let mut feeder = owner(&copy).await;
    assert_eq!(close(&mut feeder, &[MAY, MAY + DAY]).await, 2);
    assert_eq!(drop_month(&mut feeder).await, month(0));
    assert_eq!((months(&copy).await.len(), months(&case).await.len()), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn months_are_created_and_dropped_through_a_pool_of_one() {
    let postgres = Postgres::private();
    let pooler = Pooler::to(&postgres, 1);
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let direct = days(Case::on("127.0.0.1:1", &postgres.url())).spec("retention: {finalRows: 31d}").build();
        direct.apply_schema().await;
        let pooled = direct.with_database(&pooler.url());
        tasks.push(tokio::spawn(async move {
            let mut feeder = owner(&pooled).await;
            let mut dropped = 0;
            for day in (0..300).step_by(5) {
                close(&mut feeder, &[day * DAY]).await;
                dropped += i32::from(drop_month(&mut feeder).await != MonthDrop::NotDue);
            }
            (direct, dropped)
        }));
    }
    for task in tasks {
        let (case, dropped) =
            tokio::time::timeout(Duration::from_secs(90), task).await.expect("it ends in time").unwrap();
        // Windows before October 23 are closed: September and October are retained.
        assert_eq!((dropped, months(&case).await.len()), (8, 2));
        assert_eq!(case.text("SELECT trim_scale(total_amount) FROM totals").await, "59");
    }
}
