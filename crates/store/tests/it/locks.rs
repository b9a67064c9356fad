//! Changes of a schema next to its readers, on a real Postgres.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use retail_connection::{ErrorKind, Removal};
use retail_store::provision;
use retail_testbed::{Case, Pooler, Postgres, eventually};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

/// Programs that read `retail` all the time.
pub(crate) struct Readers {
    stop: Arc<AtomicBool>,
    longest: Vec<JoinHandle<Duration>>,
}

impl Readers {
    pub(crate) async fn start(case: &Case) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut longest = Vec::new();
        for _ in 0..3 {
            let (client, stop) = (case.client().await, Arc::clone(&stop));
            longest.push(tokio::spawn(async move {
                let mut longest = Duration::ZERO;
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    // The schema is gone after it was dropped.
                    let _rows = client.query("SELECT count(*) FROM retail", &[]).await;
                    longest = longest.max(began.elapsed());
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                longest
            }));
        }
        Self { stop, longest }
    }

    /// The longest wait of a reader.
    pub(crate) async fn stop(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let mut longest = Duration::ZERO;
        for reader in self.longest {
            longest = longest.max(reader.await.unwrap());
        }
        longest
    }
}

/// A session of a BI tool that has read `retail`, and keeps its transaction open. Returns its process id too.
pub(crate) async fn idle_transaction(case: &Case) -> (Client, i32) {
    let client = case.client_at(&format!("{}?application_name=tableau", Postgres::shared().url())).await;
    client.batch_execute("BEGIN; SELECT count(*) FROM retail").await.unwrap();
    let pid = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    (client, pid)
}

/// Waits until a change of the schema has tried several times to lock something.
async fn tries(case: &Case, number: usize) {
    let client = case.client().await;
    let waiting = "
        SELECT DISTINCT l.virtualtransaction FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
        WHERE NOT l.granted AND l.mode = 'AccessExclusiveLock' AND c.relnamespace = to_regnamespace(current_schema())";
    let mut tries = BTreeSet::new();
    eventually("the change tries again", async || {
        tries.extend(client.query(waiting, &[]).await.unwrap().iter().map(|row| row.get::<_, String>(0)));
        (tries.len() >= number).then_some(())
    })
    .await;
}

/// Makes a recorded fingerprint wrong, as if another version of the program had created the object.
async fn outdate(case: &Case, name: &str) {
    let update = format!("UPDATE definitions SET fingerprint = 'old' WHERE name = '{name}' RETURNING 1");
    assert_eq!(case.query(&update).await.len(), 1, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_pass_a_view_that_cannot_be_replaced() {
    let case = Case::shared().start().await;
    let (database, pipeline) = (&case.settings.database, &case.settings.pipeline);
    let (idle, pid) = idle_transaction(&case).await;
    outdate(&case, "view retail").await;
    let readers = Readers::start(&case).await;
    let began = Instant::now();
    let error = provision::apply(database, pipeline).await.unwrap_err();
    let took = began.elapsed();
    let longest = readers.stop().await;
    assert_eq!(error.kind, ErrorKind::Locked, "{error}");
    let said = format!(
        "view retail cannot be replaced: session {pid} of user retail (application \"tableau\") has held it for "
    );
    assert!(error.message.starts_with(&said) && error.message.ends_with(" s; end that transaction"), "{error}");
    // A reader waits for one try, never for the idle transaction.
    assert!(longest * 10 < took, "a reader waited {longest:?} of {took:?}");

    idle.batch_execute("ROLLBACK").await.unwrap();
    provision::apply(database, pipeline).await.unwrap();
    assert!(provision::is_as_made(&database.connect("test").await.unwrap(), pipeline).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn view_is_replaced_once_its_reader_ends() {
    let case = Case::shared().start().await;
    let (idle, _) = idle_transaction(&case).await;
    outdate(&case, "view retail").await;
    let settings = case.settings.clone();
    let apply = tokio::spawn(async move { provision::apply(&settings.database, &settings.pipeline).await });
    tries(&case, 3).await;
    idle.batch_execute("ROLLBACK").await.unwrap();
    apply.await.unwrap().unwrap();
    assert!(
        provision::is_as_made(&case.settings.database.connect("test").await.unwrap(), &case.settings.pipeline)
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn function_is_replaced_next_to_a_reader() {
    let case = Case::shared().start().await;
    let (idle, _) = idle_transaction(&case).await;
    let held = "SELECT count(*) FROM pg_locks WHERE relation = 'retail'::regclass";
    for name in ["function average", "function claim", "function watermark"] {
        outdate(&case, name).await;
    }
    let views = "SELECT string_agg(xmin::text, ' ' ORDER BY relname) FROM pg_class
                 WHERE relnamespace = to_regnamespace(current_schema()) AND relkind = 'v'";
    let before = case.text(views).await;
    provision::apply(&case.settings.database, &case.settings.pipeline).await.unwrap();
    assert!(
        provision::is_as_made(&case.settings.database.connect("test").await.unwrap(), &case.settings.pipeline)
            .await
            .unwrap()
    );
    assert_eq!(case.text(views).await, before, "views that are as made are not replaced");
    assert_eq!(case.text(held).await, "1", "the transaction is still open");
    idle.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_pass_a_schema_that_cannot_be_dropped() {
    let case = Case::shared().start().await;
    let (idle, _) = idle_transaction(&case).await;
    let readers = Readers::start(&case).await;
    let began = Instant::now();
    let settings = case.settings.clone();
    let drop = tokio::spawn(async move { provision::drop(&settings.database, &settings.pipeline.uid).await });
    tries(&case, 6).await;
    idle.batch_execute("ROLLBACK").await.unwrap();
    let waited = began.elapsed();
    assert_eq!(drop.await.unwrap(), Ok(Removal::Removed));
    let longest = readers.stop().await;
    assert!(longest * 4 < waited, "a reader waited {longest:?} of {waited:?}");
}

#[tokio::test]
async fn session_that_changes_the_schema_is_named() {
    let case = Case::shared().start().await;
    let other = case.client_at(&format!("{}?application_name=deploy", Postgres::shared().url())).await;
    let pid: i32 = other.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let lock = "SELECT pg_advisory_lock(hashtextextended('retail-pipeline ' || $1, 0))";
    other.query_one(lock, &[&case.settings.pipeline.schema]).await.unwrap();
    let said = format!(
        "schema \"{}\" cannot be changed: session {pid} of user retail (application \"deploy\") has been changing it for 10 s; \
         wait until it has finished, or end that session",
        case.settings.pipeline.schema
    );
    let (database, pipeline) = (&case.settings.database, &case.settings.pipeline);
    let (apply, drop) = tokio::join!(provision::apply(database, pipeline), provision::drop(database, &pipeline.uid));
    for error in [apply.unwrap_err(), drop.unwrap_err()] {
        assert_eq!((error.kind, error.message), (ErrorKind::Locked, said.clone()));
    }
    // The lock of a change ends with its transaction, whether it succeeds or not.
    drop_session(other, &case, pid).await;
    provision::apply(database, pipeline).await.unwrap();
    let left = "SELECT count(*) FROM pg_locks l WHERE locktype = 'advisory' AND (classid::bigint << 32 | objid::bigint)
                = hashtextextended('retail-pipeline ' || current_schema(), 0)";
    assert_eq!(case.text(left).await, "0");
}

/// Ends a session, and waits until the server has ended it too.
async fn drop_session(client: Client, case: &Case, pid: i32) {
    std::mem::drop(client);
    let left = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
    eventually("the session has ended", async || (case.text(&left).await == "0").then_some(())).await;
}

#[tokio::test]
async fn autovacuum_does_not_keep_a_schema() {
    let postgres = Postgres::private();
    let case = Case::on("127.0.0.1:1", &postgres.url()).build();
    case.apply_schema().await;
    let superuser = case.client_at(&postgres.superuser_url()).await;
    for setting in
        ["autovacuum_naptime = '1s'", "autovacuum_vacuum_cost_delay = '100ms'", "autovacuum_vacuum_cost_limit = 1"]
    {
        superuser.batch_execute(&format!("ALTER SYSTEM SET {setting}")).await.unwrap();
    }
    let reload = "SELECT pg_reload_conf();
        INSERT INTO dead_letter (partition, \"offset\", reason, payload) SELECT 0, n, 'empty', repeat('x', 500)::bytea FROM generate_series(1, 20000) n;
        DELETE FROM dead_letter";
    superuser.batch_execute(reload).await.unwrap();
    let running = "SELECT 1 FROM pg_stat_progress_vacuum WHERE relid = 'dead_letter'::regclass";
    let runs = async || (!superuser.query(running, &[]).await.unwrap().is_empty()).then_some(());
    eventually("an autovacuum runs", runs).await;
    assert_eq!(provision::drop(&case.settings.database, &case.settings.pipeline.uid).await, Ok(Removal::Removed));
}

/// Both pool sizes by turns: a lock or a setting that outlived its transaction would be met by the next change.
#[tokio::test(flavor = "multi_thread")]
async fn schema_is_changed_and_dropped_through_a_pooler() {
    let postgres = Postgres::private();
    let direct = Case::on("127.0.0.1:1", &postgres.url()).build();
    let poolers = [Pooler::to(&postgres, 1), Pooler::to(&postgres, 20)];
    let pooled: Vec<Case> = poolers.iter().map(|pooler| direct.with_database(&pooler.url())).collect();
    let functions = "
        SELECT count(*) FILTER (WHERE s = format('search_path=%s, pg_temp', quote_ident(current_schema()))) || ' of ' || count(*)
        FROM pg_proc p, unnest(p.proconfig) s WHERE pronamespace = to_regnamespace(current_schema()) AND s LIKE 'search_path%'";
    let mut identity = None;
    for _ in 0..2 {
        for case in &pooled {
            let applied = provision::apply(&case.settings.database, &case.settings.pipeline).await.unwrap();
            assert_eq!(identity.get_or_insert_with(|| applied.clone()), &applied);
            let pinned = direct.text(functions).await;
            let (are, of) = pinned.split_once(" of ").unwrap();
            assert!(are == of && are != "0", "{pinned}");
            outdate(&direct, "view retail").await;
            outdate(&direct, "function claim").await;
        }
    }
    for case in &pooled {
        let (database, pipeline) = (&case.settings.database, &case.settings.pipeline);
        // Concurrent ones too: more than the smaller pool has sessions.
        let (a, b, c) = tokio::join!(
            provision::apply(database, pipeline),
            provision::apply(database, pipeline),
            provision::apply(database, pipeline)
        );
        assert!(a.is_ok() && a == b && b == c, "{a:?} {b:?} {c:?}");
        assert!(provision::is_as_made(&database.connect("test").await.unwrap(), pipeline).await.unwrap());
        assert_eq!(provision::drop(database, &pipeline.uid).await, Ok(Removal::Removed));
    }
    assert_eq!(
        direct.try_text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").await.as_deref(),
        Some("0")
    );
}
