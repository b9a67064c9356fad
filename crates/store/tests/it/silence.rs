//! A connection that falls silent after any byte of a conversation ends in time and leaves nothing behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use retail_api::resource::TlsMode;
use retail_connection::{Certificates, Pem};
use retail_store::{Commit, DatabaseConnection, DatabaseError, Deadlines, Store, Type, provision};
use retail_testbed::{Case, Certificates as Files, Postgres, SecurePostgres, Silence, SilentProxy, eventually};
use tokio::sync::Semaphore;

/// Conversations at the same time. Each has a partition of its own.
const CONCURRENT: i32 = 40;

/// Conversations in each direction. RETAIL_SILENCE=all makes one for each byte.
const SAMPLES: u64 = 150;

/// A healthy connection may take longer on a busy machine. Its conversation then ends early, and the test still passes.
const SHORT: Deadlines = Deadlines {
    connect: Duration::from_millis(1500),
    statement: Duration::from_millis(500),
    silence: Duration::from_millis(250),
    cancel: Duration::from_millis(200),
};

/// Far more than the deadlines of a conversation. Only a failing test waits for so long.
const LONG: Duration = Duration::from_secs(60);

/// A server behind a proxy, and the schema of a case in it.
struct Target {
    case: Case,
    url: String,
    tls: Option<Certificates>,
    server: String,
    application: &'static str,
}

impl Target {
    async fn new(url: &str, host: &str, tls: Option<Certificates>, application: &'static str) -> Self {
        let case = Case::shared().partitions(CONCURRENT).build();
        let (credentials, rest) = url.split_once('@').unwrap();
        let (address, database) = rest.split_once('/').unwrap();
        let server = format!("127.0.0.1:{}", address.rsplit_once(':').unwrap().1);
        let url = format!("{credentials}@{host}:PORT/{database}?hostaddr=127.0.0.1");
        let target = Self { case, url, tls, server, application };
        let direct = target.connection(address.rsplit_once(':').unwrap().1.parse().unwrap());
        provision::apply(&direct, &target.case.settings.pipeline).await.unwrap();
        let store = Store::open(&direct, &target.case.settings.pipeline, "test").await.unwrap();
        store.begin_partitions(&[0; CONCURRENT as usize]).await.unwrap();
        target
    }

    fn connection(&self, port: u16) -> DatabaseConnection {
        let url = self.url.replace("PORT", &port.to_string());
        let connection = DatabaseConnection::new(url.parse().unwrap(), &self.case.settings.pipeline.schema);
        match &self.tls {
            None => connection,
            Some(certificates) => connection.with_tls(TlsMode::VerifyFull, certificates).unwrap(),
        }
    }

    /// Start-up, log-in, claim, commit, and a query.
    async fn conversation(&self, connection: &DatabaseConnection, partition: i32) -> Result<(), (&str, DatabaseError)> {
        let pipeline = &self.case.settings.pipeline;
        let opened = Store::open(connection, pipeline, self.application).await;
        let mut store = opened.map_err(|error| ("connecting", error))?;
        store.claim(&[partition], "silence").await.map_err(|error| ("claim", error))?;
        store.commit(&Commit::default()).await.map_err(|error| ("commit", error))?;
        let progress = store.progress().await.map_err(|error| ("query", error))?;
        assert_eq!(progress.len(), CONCURRENT as usize);
        Ok(())
    }

    /// A conversation that falls silent, and the next one through the same proxy. Returns the step that failed.
    async fn silent(&self, silence: Silence, partition: i32) -> String {
        let proxy = SilentProxy::start(&self.server, silence).await;
        let connection = self.connection(proxy.port());
        let short = connection.clone().with_deadlines(SHORT);
        let ended = tokio::time::timeout(LONG, self.conversation(&short, partition)).await;
        let ended = ended.unwrap_or_else(|_| panic!("{silence:?}: the conversation does not end"));
        let next = connection.connect(self.application).await;
        let next = next.unwrap_or_else(|error| panic!("{silence:?}: the next connection fails: {error}"));
        next.query_one("SELECT 1", &[]).await.unwrap_or_else(|error| panic!("{silence:?}: next query: {error}"));
        ended.map_or_else(|(step, _)| step.to_owned(), |()| "none".to_owned())
    }

    /// Number of bytes from server and client in an undisturbed conversation.
    async fn length(&self) -> (u64, u64) {
        let proxy = SilentProxy::start(&self.server, Silence::Never).await;
        let connection = self.connection(proxy.port());
        self.conversation(&connection, 0).await.unwrap();
        proxy.passed()
    }
}

/// Silence after each of the bytes, or after some of them that differ from run to run.
fn points(bytes: u64, silence: fn(u64) -> Silence) -> Vec<Silence> {
    let is_complete = std::env::var("RETAIL_SILENCE").is_ok_and(|value| value == "all");
    let step = if is_complete { 1 } else { (bytes / SAMPLES).max(1) };
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    (seed % step..bytes).step_by(step as usize).map(silence).collect()
}

/// The sessions of an application in the server.
async fn no_session_is_left(target: &Target) {
    let port = target.server.rsplit_once(':').unwrap().1.parse().unwrap();
    let session = target.connection(port).connect("test").await.unwrap();
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name IN ($1, 'retail probe')";
    eventually("all sessions end", async || {
        let row = session.query_one(count, &[(&target.application, retail_store::Type::TEXT)]).await.unwrap();
        (row.get::<_, i64>(0) == 0).then_some(())
    })
    .await;
}

#[expect(clippy::print_stderr, reason = "a complete run reports its figures")]
async fn sweep(target: Target) {
    let began = Instant::now();
    let (from_server, from_client) = target.length().await;
    let points = [points(from_server, Silence::AfterServer), points(from_client, Silence::AfterClient)].concat();
    let (target, permits) = (Arc::new(target), Arc::new(Semaphore::new(CONCURRENT as usize)));
    let tasks: Vec<_> = (0..)
        .zip(points)
        .map(|(number, silence)| {
            let (target, permits) = (Arc::clone(&target), Arc::clone(&permits));
            tokio::spawn(async move {
                let _permit = permits.acquire_owned().await.unwrap();
                (target.silent(silence, number % CONCURRENT).await, number)
            })
        })
        .collect();
    let mut steps = BTreeMap::<String, u32>::new();
    for task in tasks {
        *steps.entry(task.await.unwrap().0).or_default() += 1;
    }
    no_session_is_left(&target).await;
    eprintln!("{}: {from_server} + {from_client} bytes: {steps:?}, {:?}", target.application, began.elapsed());
    // The deadlines of the connection are long enough to reach the statements.
    assert!(steps.contains_key("connecting") && steps.len() > 1, "{from_server} + {from_client} bytes: {steps:?}");
}

#[tokio::test]
async fn silence_at_any_byte_ends_in_time() {
    sweep(Target::new(&Postgres::shared().url(), "localhost", None, "silence").await).await;
}

#[tokio::test]
async fn silence_at_any_byte_of_tls_ends_in_time() {
    let ca = Pem { text: Files::shared().text("ca.crt"), origin: "ca.crt".to_owned() };
    let certificates = Certificates::new(Some(ca), None, None).unwrap();
    let url = SecurePostgres::shared().url("retail", "retail", "localhost");
    sweep(Target::new(&url, "localhost", Some(certificates), "silence of tls").await).await;
}

/// The server has received all of a statement but its last bytes, and waits for them. Its session is active meanwhile.
#[tokio::test]
async fn statement_without_its_last_bytes_ends_before_its_deadline() {
    let case = Case::shared().build();
    let deadlines = Deadlines { statement: Duration::from_hours(1), ..SHORT };
    let ask = async |silence: Silence| {
        let proxy = SilentProxy::start(&Postgres::shared().address(), silence).await;
        let through = case.with_database(&proxy.url(&Postgres::shared().url())).settings.database;
        let session = through.with_deadlines(deadlines).connect("test").await?;
        let asked = session.query("SELECT repeat('x', 100), $1::int8", &[(&7_i64, Type::INT8)]).await;
        asked.map(|_| proxy.passed().1)
    };
    let whole = ask(Silence::Never).await.unwrap();
    for missing in [1, 3, 5, 6, 12, 20] {
        let asked = tokio::time::timeout(LONG, ask(Silence::AfterClient(whole - missing))).await;
        let error = asked.unwrap_or_else(|_| panic!("without the last {missing} bytes, it waits")).unwrap_err();
        assert!(error.message.contains("did not answer in time"), "{missing}: {error}");
    }
}
