//! The store through PgBouncer in transaction mode, where statements of several pipelines share sessions of the server.

use std::time::Duration;

use retail_api::resource::TlsMode;
use retail_connection::{Certificates, ErrorKind, Pem};
use retail_store::{DatabaseConnection, Deadlines, TransactionMode, provision};
use retail_testbed::{Case, Certificates as Files, Feeder, Pooler, Postgres, Silence, SilentProxy};

/// Longer than any step, and shorter than the deadlines of a connection together.
const LIMIT: Duration = Duration::from_secs(90);

/// Both pipelines, seen directly and through the pooler.
struct Pair {
    direct: [Case; 2],
    pooled: [Case; 2],
    _pooler: Pooler,
}

impl Pair {
    fn build(postgres: &Postgres, pool_size: u32) -> Self {
        let pooler = Pooler::to(postgres, pool_size);
        let direct = [0, 1].map(|_| Case::on("127.0.0.1:1", &postgres.url()).partitions(1).build());
        let pooled = direct.each_ref().map(|case| case.with_database(&pooler.url()));
        Self { direct, pooled, _pooler: pooler }
    }

    /// Applies both schemas at the same time.
    async fn apply(&self) {
        let apply =
            async |case: &Case| provision::apply(&case.settings.database, &case.settings.pipeline).await.unwrap();
        let both = async { tokio::join!(apply(&self.pooled[0]), apply(&self.pooled[1])) };
        tokio::time::timeout(LIMIT, both).await.expect("the schemas are applied in time");
    }
}

/// The tables of a pipeline, and the search path of its functions.
const OBJECTS: &str = "
    SELECT concat_ws('; ',
        (SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
         WHERE relnamespace = to_regnamespace(current_schema()) AND relkind IN ('r', 'v')),
        (SELECT string_agg(DISTINCT replace(setting, quote_ident(current_schema()), 'ours'), ' ')
         FROM pg_proc, unnest(proconfig) AS setting
         WHERE pronamespace = to_regnamespace(current_schema()) AND setting LIKE 'search_path=%'))";

async fn schemas_are_complete(pool_size: u32) {
    let postgres = Postgres::private();
    let pair = Pair::build(&postgres, pool_size);
    // Repeated, because a session-level lock or setting would stay in the pool.
    for _ in 0..3 {
        pair.apply().await;
    }
    let alone = Case::on("127.0.0.1:1", &postgres.url()).build();
    alone.apply_schema().await;
    let expected = alone.text(OBJECTS).await;
    assert!(expected.contains("partition_progress") && expected.contains("search_path=ours"), "{expected}");
    for case in &pair.direct {
        assert_eq!(case.text(OBJECTS).await, expected);
    }
    assert_eq!(alone.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_applied_through_a_pool_of_one_are_complete() {
    schemas_are_complete(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_applied_through_a_pool_of_twenty_are_complete() {
    schemas_are_complete(20).await;
}

/// Two pipelines commit in turns and at the same time; each batch must reach the schema of its pipeline.
async fn commits_reach_their_schemas(pool_size: u32) {
    let postgres = Postgres::private();
    let pair = Pair::build(&postgres, pool_size);
    for case in &pair.direct {
        case.apply_schema().await;
    }
    let mut feeders = Vec::new();
    for case in &pair.pooled {
        let mut feeder = Feeder::new(case, "pooled").await;
        feeder.claim(&[0]).await;
        feeders.push(feeder);
    }
    let tasks = feeders.into_iter().zip([200, 300]).map(|(mut feeder, commits)| {
        tokio::spawn(async move {
            for second in 0..commits {
                feeder.purchases(0, "1", &[second]);
                feeder.commit(&[]).await.unwrap();
            }
        })
    });
    for task in tasks {
        tokio::time::timeout(LIMIT, task).await.expect("the commits end in time").unwrap();
    }
    for (case, commits) in pair.direct.iter().zip([200, 300]) {
        let stored = "SELECT concat_ws(' ', consumed, applied, (SELECT sum(total_quantity) FROM retail)) FROM ledger";
        assert_eq!(case.text(stored).await, format!("{commits} {commits} {commits}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_through_a_pool_of_one_reach_their_schemas() {
    commits_reach_their_schemas(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_through_a_pool_of_twenty_reach_their_schemas() {
    commits_reach_their_schemas(20).await;
}

fn connection(url: &str) -> DatabaseConnection {
    DatabaseConnection::new(url.parse().unwrap(), "public")
}

#[tokio::test]
async fn pooler_is_detected() {
    let pooler = Pooler::to(Postgres::shared(), 2);
    assert!(!connection(&Postgres::shared().url()).connect("test").await.unwrap().behind_pooler());
    assert!(connection(&pooler.url()).connect("test").await.unwrap().behind_pooler());
}

#[tokio::test]
async fn pooler_with_tls_is_verified_and_used() {
    let pooler = Pooler::with_tls(Postgres::shared(), 2);
    let files = Files::shared();
    let trusts = |ca: &str| {
        let pem = Pem { text: files.text(ca), origin: ca.to_owned() };
        Certificates::new(Some(pem), None, None).unwrap()
    };
    let case = Case::on("127.0.0.1:1", &Postgres::shared().url()).partitions(1).build();
    let database = DatabaseConnection::new(pooler.url().parse().unwrap(), &case.settings.pipeline.schema);
    let encrypted = database.clone().with_tls(TlsMode::VerifyFull, &trusts("ca.crt")).unwrap();
    assert!(encrypted.connect("test").await.unwrap().behind_pooler());
    provision::apply(&encrypted, &case.settings.pipeline).await.unwrap();
    assert_eq!(case.text("SELECT count(*) FROM pipeline").await, "1");
    let error = database.connect("test").await.map(drop).unwrap_err();
    assert!(error.message.contains("SSL required"), "{error}");
    let stranger = database.with_tls(TlsMode::VerifyFull, &trusts("stranger.crt")).unwrap();
    let error = stranger.connect("test").await.map(drop).unwrap_err();
    assert!(error.kind == ErrorKind::NoTls && error.message.contains("is not trusted"), "{error}");
}

/// A request to cancel could end the pooler, or a statement of another client.
#[tokio::test]
async fn statement_through_a_pooler_is_ended_by_the_server() {
    let pooler = Pooler::to(Postgres::shared(), 2);
    let deadlines = Deadlines { statement: Duration::from_millis(500), cancel: LIMIT, ..Deadlines::default() };
    let mut session = connection(&pooler.url()).with_deadlines(deadlines).connect("test").await.unwrap();
    let transaction = session.transaction(TransactionMode::ReadWrite).await.unwrap();
    let error = transaction.query("SELECT pg_sleep(3600)", &[]).await.unwrap_err();
    assert!(error.kind == ErrorKind::Stopped && error.message.contains("statement timeout"), "{error}");
    transaction.rollback().await.unwrap();
    // The limit belongs to the transaction, not to the session of the pool.
    let limit: String = session.query_one("SHOW statement_timeout", &[]).await.unwrap().get(0);
    assert_eq!(limit, "0");
}

/// As when a proxy before the pooler has lost one connection: others work.
#[tokio::test]
async fn silent_connection_to_a_pooler_ends_before_its_deadline() {
    let pooler = Pooler::to(Postgres::shared(), 3);
    let proxy = SilentProxy::start(&pooler.address(), Silence::Never).await;
    let deadlines = Deadlines {
        statement: Duration::from_hours(1),
        silence: Duration::from_millis(300),
        cancel: Duration::from_millis(200),
        ..Deadlines::default()
    };
    let session = connection(&proxy.url(&pooler.url())).with_deadlines(deadlines).connect("silent").await.unwrap();
    let working = session.query("SELECT pg_sleep(2)", &[]).await;
    assert!(working.is_ok(), "a working server is waited for: {working:?}");
    proxy.silence();
    let statement = session.query("SELECT 1", &[]);
    tokio::pin!(statement);
    let sent = tokio::time::timeout(Duration::from_millis(100), &mut statement).await;
    assert!(sent.is_err(), "the statement is lost");
    proxy.resume();
    let ended = tokio::time::timeout(LIMIT, statement).await.expect("it does not wait for its deadline");
    let error = ended.unwrap_err();
    assert!(error.message.contains("did not answer in time"), "{error}");
}

#[tokio::test]
async fn unsupported_pooler_settings_are_explained() {
    let pooler = Pooler::with_mode(Postgres::shared(), 2, "statement");
    let mut session = connection(&pooler.url()).connect("test").await.unwrap();
    let error = session.transaction(TransactionMode::ReadWrite).await.map(drop).unwrap_err();
    assert!(error.message.contains("use pool_mode transaction or session"), "{error}");
    let options = format!("{}?options=-c%20geqo%3Doff", pooler.url());
    let error = connection(&options).connect("test").await.map(drop).unwrap_err();
    assert!(error.message.contains("refuses an option of the database URL"), "{error}");
}
