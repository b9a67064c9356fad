//! The views of `spec.rollups` and the roles of `spec.readers`, on a real Postgres.

use std::sync::Arc;

use retail_connection::ErrorKind;
use retail_engine::{Money, Row, Sums, Timestamp};
use retail_store::{Store, provision};
use retail_testbed::{Case, Postgres, at};

use crate::steps::{commit, owner};

/// Days with changes of the time: Apia leaves out a day, Berlin and Lord Howe (30 minutes) change at night, Havana has two midnights, or none.
const BEGINS: [&str; 6] = ["2011-12-29", "2025-03-08", "2025-03-29", "2025-04-05", "2025-10-25", "2025-11-01"];

/// Name, over, zone.
const ROLLUPS: [(&str, &str, &str); 14] = [
    ("hour", "1h", "UTC"),
    ("day", "1d", "UTC"),
    ("week", "1w", "UTC"),
    ("month", "1mo", "UTC"),
    ("berlin_hour", "1h", "Europe/Berlin"),
    ("berlin_day", "1d", "Europe/Berlin"),
    ("berlin_month", "1mo", "Europe/Berlin"),
    ("havana_hour", "1h", "America/Havana"),
    ("havana_shift", "6h", "America/Havana"),
    ("havana_day", "1d", "America/Havana"),
    ("lord_howe_hour", "1h", "Australia/Lord_Howe"),
    ("lord_howe_day", "1d", "Australia/Lord_Howe"),
    ("apia_day", "1d", "Pacific/Apia"),
    ("apia_week", "1w", "Pacific/Apia"),
];

fn rollups(rollups: &[(&str, &str, &str)]) -> String {
    let one = |(name, over, zone): &(&str, &str, &str)| {
        let zone = if *zone == "UTC" { String::new() } else { format!(", timeZone: {zone}") };
        format!("{{name: {name}, over: {over}{zone}}}")
    };
    format!("rollups: [{}]", rollups.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// Two groups in each window of three days from each of [`BEGINS`].
async fn rows(case: &Case) -> Vec<Row> {
    let begins = BEGINS.map(|day| format!("'{day} 00:00 UTC'::timestamptz"));
    let starts = format!("SELECT extract(epoch FROM begin)::bigint FROM unnest(ARRAY[{}]) begin", begins.join(", "));
    let starts = case.query(&starts).await;
    let windows = starts.iter().flat_map(|row| (0..288).map(|window| row.get::<_, i64>(0) + 900 * window));
    let row = |seconds: i64, group: &str, price: i64| {
        let events = 1 + seconds / 900 % 3;
        let sums = Sums {
            events,
            price: Money::from_millionths((price * events).into()),
            quantity: events * 2,
            amount: Money::from_millionths((price * events * 2).into()),
        };
        let dimensions: Box<[Arc<str>]> = Box::new([group.into(), "COD".into()]);
        Row { window_start: Timestamp::from_secs(seconds), dimensions, sums, more: Box::default() }
    };
    windows.flat_map(|seconds| [row(seconds, "a", seconds % 7_654_321), row(seconds, "b", 1_000_000)]).collect()
}

/// The rows that a rollup must have, from the local date of each quarter of an hour of a month before and after.
fn slow(over: &str, zone: &str) -> String {
    let bin = match over {
        "1d" => "start".to_owned(),
        "1w" => "min(t) OVER (PARTITION BY date_trunc('week', day))".to_owned(),
        "1mo" => "min(t) OVER (PARTITION BY date_trunc('month', day))".to_owned(),
        part => {
            let hours = part.trim_end_matches('h');
            format!("date_bin('{hours} hours', t, start)")
        }
    };
    let begins = BEGINS.map(|day| format!("'{day}'::timestamptz")).join(", ");
    format!(
        "WITH quarters AS (
             SELECT DISTINCT t, (t AT TIME ZONE '{zone}')::date AS day FROM unnest(ARRAY[{begins}]) begin,
                 generate_series(begin - interval '40 days', begin + interval '40 days', interval '15 minutes') t
         ), starts AS (SELECT t, day, min(t) OVER (PARTITION BY day) AS start FROM quarters),
         bins AS (SELECT t, {bin} AS bin FROM starts),
         ends AS (SELECT t, bin, max(t) OVER (PARTITION BY bin) + interval '15 minutes' AS bin_end FROM bins)
         SELECT concat_ws(' ', bin, bin_end, category, payment_method,
                          round(sum(avg_price * events) / sum(events), 6), sum(total_quantity), sum(total_amount),
                          bin_end <= (SELECT closed_until FROM pipeline), sum(events))
         FROM retail r JOIN ends ON ends.t = r.window_start
         GROUP BY bin, bin_end, category, payment_method ORDER BY bin, category"
    )
}

/// The pages of docs/ whose queries a reader can execute.
const BI_PAGES: [&str; 4] =
    ["how-to/connect-bi-tools", "how-to/use-metabase", "how-to/use-superset", "how-to/use-grafana"];

/// Executes the queries of a page, on this schema. Grafana's macro becomes a range of time.
async fn run_queries(client: &tokio_postgres::Client, page: &str, schema: &str) {
    let file = format!("{}/../../docs/{page}.md", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(file).unwrap();
    let blocks = text.split("```sql\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let queries: Vec<&str> = blocks.filter(|block| !block.starts_with("CREATE ROLE")).collect();
    assert!(!queries.is_empty(), "{page}");
    for query in queries {
        let range = "window_start BETWEEN '2026-01-01' AND '2026-01-02'";
        let query = query.replace("$__timeFilter(window_start)", range).replace("retail.", &format!("\"{schema}\"."));
        let done = client.batch_execute(&query).await;
        done.unwrap_or_else(|error| panic!("docs/{page}.md: {query}\n{error:?}"));
    }
}

async fn texts(case: &Case, sql: &str) -> Vec<String> {
    case.query(sql).await.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn rollups_over_changes_of_time_equal_a_slow_computation() {
    let case = Case::shared()
        .partitions(1)
        .spec("window: 15m")
        .spec("watermark: {delay: 0s}")
        .spec(&rollups(&ROLLUPS))
        .start()
        .await;
    let (mut store, epoch) = owner(&case).await;
    // The windows before the last but one change are closed, those of it in part.
    let seconds = "SELECT (extract(epoch FROM '2025-10-26 00:30 UTC'::timestamptz) - 1735689600)::bigint::text";
    let middle: i64 = case.text(seconds).await.parse().unwrap();
    store.commit(&commit(epoch, 0, rows(&case).await, middle)).await.unwrap();
    store.close_windows(true).await.unwrap().unwrap();
    assert_eq!(case.text("SELECT bool_or(final) AND NOT bool_and(final) FROM retail").await, "true");
    for (name, over, zone) in ROLLUPS {
        let view = format!(
            "SELECT concat_ws(' ', window_start, window_end, category, payment_method, avg_price, total_quantity, total_amount, final,
                              events)
             FROM {name} ORDER BY window_start, category"
        );
        let (view, slow) = (texts(&case, &view).await, texts(&case, &slow(over, zone)).await);
        assert_eq!(view, slow, "{name}");
        assert!(view.len() >= 10, "{name}: {view:?}");
    }
    // 25 and 23 hours, half an hour more, and no Friday.
    for (name, day, hours) in [
        ("berlin_day", "2025-10-25 22:00 UTC", "1 day 01:00:00"),
        ("berlin_day", "2025-03-29 23:00 UTC", "23:00:00"),
        ("havana_day", "2025-11-02 04:00 UTC", "1 day 01:00:00"),
        ("havana_day", "2025-03-09 05:00 UTC", "23:00:00"),
        ("lord_howe_day", "2025-04-05 13:00 UTC", "1 day 00:30:00"),
        ("apia_week", "2011-12-26 10:00 UTC", "6 days"),
    ] {
        let length =
            format!("SELECT DISTINCT (window_end - window_start)::text FROM {name} WHERE window_start = '{day}'");
        assert_eq!(texts(&case, &length).await, [hours], "{name} {day}");
    }
    let read = "SELECT count(*) FROM hour WHERE window_start >= '2025-11-01'";
    assert_eq!(case.text(read).await, "144");
}

#[tokio::test]
async fn rollup_omits_times_that_were_dropped_in_part() {
    let lines = "rollups: [{name: jakarta, over: 1d, timeZone: Asia/Jakarta}]";
    let case = Case::shared().partitions(1).spec("window: 1h").spec(lines).start().await;
    let (mut store, epoch) = owner(&case).await;
    let row = |seconds| Row {
        window_start: Timestamp::from_secs(at(seconds)),
        dimensions: Box::new(["a".into(), "COD".into()]),
        sums: Sums { events: 1, quantity: 1, ..Sums::default() },
        more: Box::default(),
    };
    let hours = (0..72).map(|hour| row(hour * 3600)).collect();
    store.commit(&commit(epoch, 0, hours, 100 * 3600)).await.unwrap();
    store.close_windows(true).await.unwrap().unwrap();
    let days = "SELECT string_agg(concat_ws(' ', to_char(window_start AT TIME ZONE 'UTC', 'DD HH24'), events, final), ', ' ORDER BY window_start)
                FROM jakarta";
    assert_eq!(case.text(days).await, "31 17 17 t, 01 17 24 t, 02 17 24 t, 03 17 7 t");
    // As drop_month leaves it.
    let dropped = "DELETE FROM final_rows WHERE window_start < '2025-01-02 UTC'; UPDATE pipeline SET retained_from = '2025-01-02 UTC'";
    case.client().await.batch_execute(dropped).await.unwrap();
    assert_eq!(case.text(days).await, "02 17 24 t, 03 17 7 t");
}

/// The case with another `rollups` and `readers`.
fn changed(case: &Case, readers: &[&str], rollups: &[usize]) -> retail_api::Pipeline {
    let pipeline = case.settings.pipeline.clone();
    let rollups = rollups.iter().map(|at| pipeline.rollups[*at].clone()).collect();
    retail_api::Pipeline { readers: readers.iter().map(|role| (*role).to_owned()).collect(), rollups, ..pipeline }
}

#[tokio::test]
async fn readers_read_all_views_and_nothing_else() {
    let case = Case::shared().partitions(1).spec(&rollups(&ROLLUPS[..2])).start().await;
    let (mut store, epoch) = owner(&case).await;
    let sums = Sums { events: 1, price: Money::from_millionths(1), quantity: 1, amount: Money::from_millionths(1) };
    let window_start = Timestamp::from_secs(at(0));
    let row = Row { window_start, dimensions: Box::new(["a".into(), "b".into()]), sums, more: Box::default() };
    store.commit(&commit(epoch, 0, vec![row], 0)).await.unwrap();
    let schema = &case.settings.pipeline.schema;
    let role = format!("reader_{schema}");
    let superuser = case.client_at(&Postgres::shared().superuser_url()).await;
    superuser.batch_execute(&format!("CREATE ROLE \"{role}\" LOGIN PASSWORD 'secret'")).await.unwrap();
    let database = &case.settings.database;
    let session = database.connect("test").await.unwrap();
    let unknown = changed(&case, &[&role, "nobody_has_this_name"], &[0, 1]);
    let error = provision::apply(database, &unknown).await.unwrap_err();
    assert!(error.message.contains("role \"nobody_has_this_name\" of spec.readers does not exist"), "{error}");
    let pipeline = changed(&case, &[&role], &[0, 1]);
    assert!(!provision::is_as_made(&session, &pipeline).await.unwrap());
    provision::apply(database, &pipeline).await.unwrap();
    assert!(provision::is_as_made(&session, &pipeline).await.unwrap());

    let reader = case.client_at(&Postgres::shared().url().replace("retail:retail@", &format!("{role}:secret@"))).await;
    let views =
        "SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'v'";
    let views = texts(&case, views).await;
    assert_eq!(views.len(), 9, "{views:?}");
    for view in &views {
        let rows = reader.query(&format!("SELECT * FROM \"{view}\""), &[]).await.unwrap().len();
        assert_eq!(rows, usize::from(!["late", "rejected"].contains(&view.as_str())), "{view}");
    }
    for table in ["final_rows", "delta_log", "dead_letter", "pipeline", "proof", "groups"] {
        let refused = reader.query(&format!("SELECT * FROM {table}"), &[]).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "42501", "{table}");
    }

    for page in BI_PAGES {
        run_queries(&reader, page, schema).await;
    }
    run_queries(&case.client().await, "reference/sql", schema).await;

    // A view that was dropped comes back with its rights, and so does a right that was revoked.
    for damage in ["DROP VIEW hour", &format!("REVOKE SELECT ON retail FROM \"{role}\"")] {
        case.client().await.batch_execute(damage).await.unwrap();
        assert!(!provision::is_as_made(&session, &pipeline).await.unwrap(), "{damage}");
        provision::apply(database, &pipeline).await.unwrap();
        assert!(provision::is_as_made(&session, &pipeline).await.unwrap(), "{damage}");
        reader.query("SELECT * FROM hour CROSS JOIN retail", &[]).await.unwrap();
    }

    // A rollup that is left out is dropped, and a role that is left out loses its rights; those of others stay.
    let other = format!("other_{schema}");
    let granted = format!("CREATE ROLE \"{other}\"; GRANT SELECT ON retail TO \"{other}\"");
    superuser.batch_execute(&granted).await.unwrap();
    let pipeline = changed(&case, &[], &[1]);
    assert_eq!(retail_store::progress::look(&session, &pipeline).await.unwrap(), None);
    provision::apply(database, &pipeline).await.unwrap();
    assert!(retail_store::progress::look(&session, &pipeline).await.unwrap().is_some());
    let refused = reader.query("SELECT * FROM retail", &[]).await.unwrap_err();
    // Without USAGE, the schema is left out of the search path.
    assert_eq!(refused.code().unwrap().code(), "42P01", "{refused:?}");
    let left = format!(
        "SELECT concat_ws(' ', to_regclass('hour') IS NULL, to_regclass('day') IS NULL,
        has_table_privilege('{other}', 'retail', 'SELECT'), has_schema_privilege('{role}', current_schema(), 'USAGE'))"
    );
    assert_eq!(case.text(&left).await, "t f t f");
    provision::drop(database, &pipeline.uid).await.unwrap();
    superuser.batch_execute(&format!("DROP ROLE \"{role}\"; DROP ROLE \"{other}\"")).await.unwrap();
}

#[tokio::test]
async fn rollup_in_a_zone_needs_windows_within_its_days() {
    for (window, zone, said) in [
        ("1h", "Asia/Kolkata", "an offset from UTC is not a multiple of the window (1980-01-01: 05:30:00)"),
        ("24h", "Asia/Jakarta", "(1980-01-01: 07:00:00)"),
        ("30m", "Asia/Kathmandu", "(1986-01-01: 05:45:00)"),
        ("30m", "Asia/Nowhere", "knows no time zone \"Asia/Nowhere\""),
    ] {
        let lines = format!("rollups: [{{name: day, over: 1d, timeZone: {zone}}}]");
        let case = Case::shared().spec(&format!("window: {window}")).spec(&lines).build();
        let error = provision::apply(&case.settings.database, &case.settings.pipeline).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Other);
        assert!(error.message.contains(said), "{error}");
    }
    for (window, zone) in [("30m", "Asia/Kolkata"), ("15m", "Asia/Kathmandu"), ("1h", "Asia/Jakarta")] {
        let lines = format!("rollups: [{{name: day, over: 1d, timeZone: {zone}}}]");
        let case = Case::shared().spec(&format!("window: {window}")).spec(&lines).start().await;
        assert_eq!(case.text("SELECT count(*) FROM day").await, "0");
        assert!(Store::open(&case.settings.database, &case.settings.pipeline, "a").await.is_ok());
    }
}
