//! Servers that fail, reject or run out of space; clocks that jump; signals.

use std::time::{Duration, Instant};

use retail_testbed::{
    Case, Kafka, Postgres, Program, Sent, Silence, SilentProxy, SmallDisk, eventually, jumping_clock,
};
use tokio_postgres::Client;

use crate::programs::{LIMIT, PROCESSOR, catch_up, http, produce, start, until, until_consumed, until_ready};

const PROBES: [&str; 2] = ["--http", "127.0.0.1:0"];

/// A separate role that owns the pipeline's schema, and a session of the superuser.
async fn own_role(case: &Case) -> (Case, String, Client) {
    let superuser = case.client_at(&Postgres::shared().superuser_url()).await;
    let role = format!("role_{}", case.settings.pipeline.schema);
    let make = format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT CREATE ON DATABASE retail TO {role}");
    superuser.batch_execute(&make).await.unwrap();
    let case = case.with_database(&Postgres::shared().url().replace("retail:retail@", &format!("{role}:secret@")));
    case.apply_topic().await;
    case.apply_schema().await;
    superuser.batch_execute(&format!("SET search_path TO {}", case.settings.pipeline.schema)).await.unwrap();
    (case, role, superuser)
}

fn garbage(count: usize) -> Vec<Sent> {
    (0..count as i64).map(|n| Sent { partition: 0, timestamp: n, value: Some(vec![b'x'; 1000]) }).collect()
}

#[tokio::test]
async fn postgres_outage_keeps_records_memory_and_membership() {
    let postgres = Postgres::private();
    let case = Case::on(&Kafka::shared().address(), &postgres.url()).start().await;
    let session = Duration::from_secs(6);
    let processor = start(&case, &[&["--workers", "1", "--session-timeout", "6s"], &PROBES[..]].concat());
    case.topic.purchases(1, &[("A", "1", 0)]);
    until_consumed(&case, 1).await;
    postgres.stop();
    let began = Instant::now();
    let mut sent = 1;
    // Longer than the session timeout, and more records than the worker may hold.
    while began.elapsed() < session * 2 || sent < 400_000 {
        case.topic.send(&garbage(20_000));
        sent += 20_000;
        until_ready(&processor, 503, "cannot reach postgres").await;
        assert_eq!(http(&processor, "/livez").await.0, 200);
    }
    postgres.start();
    until_consumed(&case, sent).await;
    until_ready(&processor, 200, "ready").await;
    let said = processor.output();
    assert!(!said.contains("released partitions") && !said.contains("fenced"), "{said}");
    // At most four batches of 16 MiB (one that fills, one that is committed, and its encoding in a buffer that doubles), as much
    // of fetched records, and the program with its allocator, which returns freed memory late on a busy machine: measured up
    // to 294 MiB. Without a bound, the worker would hold all of the sent bytes.
    let memory = processor.peak_memory_mib();
    assert!(memory < 340, "{memory} MiB while {} MB of garbage came", sent / 1000);
    case.assert_exact().await;
}

/// A server that accepts connections and does not answer.
#[tokio::test]
async fn silent_postgres_is_reported_and_processing_resumes() {
    let case = Case::shared().start().await;
    let proxy = SilentProxy::start(&Postgres::shared().address(), Silence::Never).await;
    let through = case.with_database(&proxy.url(&Postgres::shared().url()));
    let processor = start(&through, &[&["--workers", "1"], &PROBES[..]].concat());
    case.topic.purchases(0, &[("A", "1", 0)]);
    until_consumed(&case, 1).await;
    until_ready(&processor, 200, "ready").await;
    proxy.silence();
    case.topic.purchases(0, &[("A", "1", 1)]);
    until_ready(&processor, 503, "did not answer in time").await;
    // Another thread writes the line, possibly later.
    processor.says(" WARN worker-0, postgres: postgres at 127.0.0.1").await;
    assert_eq!(http(&processor, "/livez").await.0, 200);
    proxy.resume();
    until_consumed(&case, 2).await;
    until_ready(&processor, 200, "ready").await;
    case.assert_exact().await;
}

#[tokio::test]
async fn until_caught_up_ends_when_postgres_falls_silent() {
    let case = Case::shared().start().await;
    let proxy = SilentProxy::start(&Postgres::shared().address(), Silence::Never).await;
    let through = case.with_database(&proxy.url(&Postgres::shared().url()));
    // The commit waits for this lock, so that the processor cannot catch up.
    let holder = case.client().await;
    holder.batch_execute("BEGIN; LOCK TABLE dead_letter").await.unwrap();
    case.topic.send(&garbage(1));
    let mut processor = start(&through, &["--until-caught-up"]);
    let waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'dead_letter'::regclass";
    until(&case, "the commit waits", waits).await;
    proxy.silence();
    assert_eq!(processor.exit_code(LIMIT).await, 1);
    let output = processor.output();
    assert!(output.contains("did not answer in time"), "{output}");
}

#[tokio::test]
async fn outdated_functions_end_a_single_run_and_hold_others() {
    let case = Case::shared().start().await;
    case.client().await.batch_execute("DROP FUNCTION commit_batch").await.unwrap();
    case.topic.purchases(1, &[("A", "1", 0)]);
    let mut single = start(&case, &["--until-caught-up"]);
    assert_eq!(single.exit_code(LIMIT).await, 1);
    assert!(single.output().contains("run `retail apply-schema`"), "{}", single.output());
    // A worker fails. From then on, the processor is not ready, and says why.
    let processor = start(&case, &PROBES);
    until_ready(&processor, 503, "views or functions of schema").await;
    assert!(!processor.output().contains("recovered from: schema"), "{}", processor.output());
    case.apply_schema().await;
    until_consumed(&case, 1).await;
    until_ready(&processor, 200, "ready").await;
    case.assert_exact().await;
}

#[tokio::test]
async fn until_caught_up_ends_when_kafka_falls_silent() {
    let kafka = Kafka::private();
    let case = Case::on(&kafka.address(), &Postgres::shared().url()).partitions(1).start().await;
    // The commit waits for this lock, so that the processor cannot catch up.
    let holder = case.client().await;
    holder.batch_execute("BEGIN; LOCK TABLE dead_letter").await.unwrap();
    case.topic.send(&garbage(1));
    let mut processor = start(&case, &["--until-caught-up"]);
    let waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'dead_letter'::regclass";
    until(&case, "the commit waits", waits).await;
    kafka.pause();
    assert_eq!(processor.exit_code(LIMIT).await, 1);
    assert!(processor.output().contains("cannot reach Kafka at"), "{}", processor.output());
    kafka.resume();
}

#[tokio::test]
async fn full_disk_is_reported_and_processing_resumes() {
    let postgres = Postgres::private();
    let Some(disk) = SmallDisk::mount(64, postgres.user_id()) else {
        eprintln!("skipped: a small disk can be mounted by root only");
        return;
    };
    let admin = postgres.superuser_url().replace("/retail", "/postgres");
    let case = Case::on(&Kafka::shared().address(), &postgres.url()).build();
    let client = case.client_at(&admin).await;
    let make = format!("CREATE TABLESPACE small LOCATION '{}'", disk.directory().display());
    client.batch_execute(&make).await.unwrap();
    client.batch_execute("ALTER DATABASE retail SET TABLESPACE small").await.unwrap();
    case.apply_topic().await;
    case.apply_schema().await;
    let processor = start(&case, &[&["--workers", "1"], &PROBES[..]].concat());
    until_ready(&processor, 200, "ready").await;
    disk.fill();
    case.topic.send(&garbage(20_000));
    until_ready(&processor, 503, "is out of disk, memory or connections").await;
    disk.make_room();
    until_consumed(&case, 20_000).await;
    until_ready(&processor, 200, "ready").await;
    case.assert_exact().await;
    drop((processor, client, postgres));
}

#[tokio::test]
async fn changed_password_is_reported_and_processing_resumes() {
    let (case, role, superuser) = own_role(&Case::shared().build()).await;
    let processor = start(&case, &PROBES);
    case.topic.purchases(0, &[("A", "1", 0)]);
    until_consumed(&case, 1).await;
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'");
    superuser.batch_execute(&format!("ALTER ROLE {role} PASSWORD 'another'; {end}")).await.unwrap();
    case.topic.purchases(0, &[("A", "1", 1)]);
    until_ready(&processor, 503, &format!("refused user \"{role}\"")).await;
    superuser.batch_execute(&format!("ALTER ROLE {role} PASSWORD 'secret'")).await.unwrap();
    until_consumed(&case, 2).await;
    until_ready(&processor, 200, "ready").await;
    case.assert_exact().await;
}

#[tokio::test]
async fn revoked_permission_is_reported_and_processing_resumes() {
    let (case, role, superuser) = own_role(&Case::shared().build()).await;
    let processor = start(&case, &PROBES);
    case.topic.purchases(0, &[("A", "1", 0)]);
    until_consumed(&case, 1).await;
    superuser.batch_execute("ALTER TABLE delta_log OWNER TO postgres").await.unwrap();
    case.topic.purchases(0, &[("A", "1", 1)]);
    until_ready(&processor, 503, &format!("user \"{role}\" lacks a permission")).await;
    superuser.batch_execute(&format!("ALTER TABLE delta_log OWNER TO {role}")).await.unwrap();
    until_consumed(&case, 2).await;
    case.assert_exact().await;
}

#[tokio::test]
async fn until_caught_up_fails_on_missing_dependencies() {
    let ends = async |case: &Case, word: &str| {
        let mut processor = start(case, &["--until-caught-up"]);
        assert_eq!(processor.exit_code(LIMIT).await, 1);
        assert!(processor.output().contains(word), "{word:?} is not in {}", processor.output());
    };
    let case = Case::shared().build();
    ends(&case, "run `retail apply-schema`").await;
    ends(&case.with_database("postgres://retail:wrong@127.0.0.1:1/retail"), "cannot reach postgres at 127.0.0.1:1")
        .await;
    let wrong = Postgres::shared().url().replace(":retail@", ":wrong@");
    ends(&case.with_database(&wrong), "refused user \"retail\"").await;
    case.apply_schema().await;
    ends(&case, "create it with `retail apply-topic`").await;
    case.apply_topic().await;
    case.topic.purchases(0, &[("A", "1", 0)]);
    let mut processor = start(&case, &["--until-caught-up", "--session-timeout", "1s"]);
    assert_eq!(processor.exit_code(LIMIT).await, 1, "the broker allows no less than six seconds");
    assert!(processor.output().contains("session timeout"), "{}", processor.output());
    let case = Case::on("127.0.0.1:1", &Postgres::shared().url()).build();
    case.apply_schema().await;
    ends(&case, "cannot reach Kafka at 127.0.0.1:1").await;
}

#[tokio::test]
async fn killed_postgres_sessions_are_reopened() {
    let case = Case::shared().start().await;
    let mut processor = start(&case, &["--workers", "1"]);
    let superuser = case.client_at(&Postgres::shared().superuser_url()).await;
    for round in 1..=5 {
        case.topic.purchases(0, &[("A", "1", round)]);
        until_consumed(&case, round).await;
        let pid = processor.pid();
        let end = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE '%/{pid}/%'"
        );
        let killed: i64 = superuser.query_one(&end, &[]).await.unwrap().get(0);
        assert_eq!(killed, 1);
    }
    case.topic.purchases(1, &[("A", "1", 0)]);
    until_consumed(&case, 6).await;
    assert_eq!(processor.try_wait(), None);
    case.assert_exact().await;
}

#[tokio::test]
async fn killed_broker_is_reconnected_after_restart() {
    let kafka = Kafka::private();
    let case = Case::on(&kafka.address(), &Postgres::shared().url()).start().await;
    let mut processor = start(&case, &PROBES);
    case.topic.purchases(0, &[("A", "1", 0)]);
    until_consumed(&case, 1).await;
    kafka.kill();
    until_ready(&processor, 503, "cannot reach Kafka").await;
    kafka.start();
    case.topic.purchases(1, &[("A", "1", 1)]);
    until_consumed(&case, 2).await;
    until_ready(&processor, 200, "ready").await;
    assert_eq!(processor.try_wait(), None);
    case.assert_exact().await;
}

/// CPU seconds of a process so far.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name in parentheses: the state is field 3, user and system time are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}

/// Without a pause between attempts, it would use more than half a core.
#[tokio::test]
async fn broker_that_refuses_connections_costs_little_cpu() {
    let kafka = Kafka::private();
    let case = Case::on(&kafka.address(), &Postgres::shared().url()).start().await;
    let processor = start(&case, &[&["--workers", "1"], &PROBES[..]].concat());
    case.topic.purchases(0, &[("A", "1", 0)]);
    until_consumed(&case, 1).await;
    kafka.kill();
    until_ready(&processor, 503, "cannot reach Kafka").await;
    let (before, began) = (cpu_seconds(processor.pid()), Instant::now());
    tokio::time::sleep(Duration::from_secs(8)).await;
    let share = (cpu_seconds(processor.pid()) - before) / began.elapsed().as_secs_f64();
    assert!(share < 0.15, "{share} of a core");
}

#[tokio::test]
async fn unreachable_brokers_at_start_are_waited_for() {
    let kafka = Kafka::private();
    let case = Case::on(&kafka.address(), &Postgres::shared().url()).start().await;
    kafka.stop();
    let processor = start(&case, &PROBES);
    until_ready(&processor, 503, "cannot reach Kafka").await;
    kafka.start();
    case.topic.purchases(0, &[("A", "1", 0)]);
    until_consumed(&case, 1).await;
}

#[tokio::test]
async fn probes_and_metrics_have_documented_names() {
    let case = Case::shared().start().await;
    let processor = start(&case, &PROBES);
    produce(&case, 5000, 1).await;
    until_consumed(&case, 5000).await;
    until_ready(&processor, 200, "ready").await;
    assert_eq!(http(&processor, "/livez").await.0, 200);
    assert_eq!(http(&processor, "/").await.0, 404);
    // Also after the second worker has joined, and while it claims a partition. A commit is counted when its reply arrives,
    // later than its rows become visible.
    let counted = |metrics: &str| -> u64 {
        let value = |fate: &str| {
            let name = format!("retail_records_total{{fate=\"{fate}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap_or(0)
        };
        ["applied", "late", "invalid", "future"].map(value).iter().sum()
    };
    let metrics = eventually("everything is counted, and the lag is known to be nothing", async || {
        let (status, metrics) = http(&processor, "/metrics").await;
        assert_eq!(status, 200);
        let nothing = metrics.contains("retail_consumer_lag_records{partition=\"0\"} 0");
        (nothing && counted(&metrics) >= 5000).then_some(metrics)
    })
    .await;
    assert_eq!(counted(&metrics), 5000);
    for name in [
        "retail_records_total{fate=\"applied\"}",
        "retail_rejected_total{reason=\"malformed_json\"}",
        "retail_event_lateness_seconds_bucket{le=",
        "retail_commit_duration_seconds_bucket{le=",
        "retail_commits_total{result=\"committed\"}",
        "retail_last_commit_timestamp_seconds ",
        "retail_open_windows ",
        "retail_build_info{version=",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    // After two simultaneous first commits, only the next commit computes the watermark.
    produce(&case, 10, 2).await;
    eventually("the watermark is known", async || {
        http(&processor, "/metrics").await.1.contains("\nretail_watermark_timestamp_seconds ").then_some(())
    })
    .await;
}

#[tokio::test]
async fn second_signal_ends_process_at_once() {
    let postgres = Postgres::private();
    let case = Case::on(&Kafka::shared().address(), &postgres.url()).start().await;
    let mut processor = start(&case, &PROBES);
    until_ready(&processor, 200, "ready").await;
    postgres.stop();
    case.topic.purchases(0, &[("A", "1", 0)]);
    // With a batch that cannot be committed, the first signal waits for Postgres.
    until_ready(&processor, 503, "cannot reach postgres").await;
    processor.signal("TERM");
    // A signal that is still pending takes up a second one of its kind.
    processor.says("a second signal ends the process at once").await;
    processor.signal("TERM");
    assert_eq!(processor.exit_code(Duration::from_secs(15)).await, 130);
    postgres.start();
    catch_up(&case).await;
    case.assert_exact().await;
}

#[tokio::test]
async fn uncommitted_last_batch_fails_the_exit_code() {
    let postgres = Postgres::private();
    let case = Case::on(&Kafka::shared().address(), &postgres.url()).start().await;
    let mut processor = start(&case, &[&["--workers", "1"], &PROBES[..]].concat());
    until_ready(&processor, 200, "ready").await;
    postgres.stop();
    case.topic.purchases(0, &[("A", "1", 0)]);
    until_ready(&processor, 503, "cannot reach postgres").await;
    processor.signal("TERM");
    assert_eq!(processor.exit_code(LIMIT).await, 1);
    assert!(processor.output().contains("was not committed in time"), "{}", processor.output());
    postgres.start();
    catch_up(&case).await;
    case.assert_exact().await;
}

#[tokio::test]
async fn clock_jump_of_years_changes_no_fate() {
    let case = Case::shared().spec("watermark: {idleTimeout: 2s}").start().await;
    let mut command = case.command(PROCESSOR);
    command.env("LD_PRELOAD", jumping_clock()).args(PROBES);
    let jumping = Program::run(command);
    produce(&case, 20_000, 3).await;
    until_consumed(&case, 20_000).await;
    until(&case, "idleness is confirmed", "SELECT bool_and(idle_until IS NOT NULL) FROM partition_progress").await;
    let (_, metrics) = http(&jumping, "/metrics").await;
    assert!(metrics.contains("retail_last_commit_timestamp_seconds "));
    case.assert_exact().await;
    // The same topic with a clock that does not jump gives the same rows and the same ledger.
    let other = case.with_schema(&format!("{}_other", case.settings.pipeline.schema));
    other.apply_schema().await;
    catch_up(&other).await;
    assert_eq!(case.ledger().await, other.ledger().await);
}

#[tokio::test]
async fn clock_that_differs_from_postgres_closes_no_window() {
    let case = Case::shared().spec("watermark: {idleTimeout: 1s, whenIdle: FollowClock}").start().await;
    let mut command = case.command(PROCESSOR);
    let ten_years_behind = (-10 * 365 * 86_400).to_string();
    command
        .env("LD_PRELOAD", jumping_clock())
        .env("CLOCK_AHEAD", ten_years_behind)
        .args(PROBES)
        .args(["--workers", "1"]);
    let behind = Program::run(command);
    case.topic.purchases(0, &[("A", "1", 0)]);
    until_consumed(&case, 1).await;
    until_ready(&behind, 503, "the clock of this process is 3650d behind the clock of postgres").await;
    let held = async || {
        let metrics = http(&behind, "/metrics").await.1;
        metrics.contains("retail_watermark_held_seconds{partition=\"\",reason=\"clock\"} ").then_some(())
    };
    eventually("the clock holds the watermark", held).await;
    assert_eq!(case.retail().await, ["0 300 A 1 1 1 open"]);
    assert_eq!(behind.output().matches("behind the clock of postgres").count(), 1, "{}", behind.output());
    drop(behind);
    let _right = start(&case, &[]);
    until(&case, "the window is closed", "SELECT count(*) = 1 FROM final_rows").await;
}

/// As after a restore of another schema with the same name and owner. Only the sessions that follow could take it for ours.
#[tokio::test]
async fn schema_replaced_between_sessions_is_noticed() {
    let (case, role, superuser) = own_role(&Case::shared().partitions(1).build()).await;
    let processor = start(&case, &["--workers", "1"]);
    case.topic.purchases(0, &[("A", "1", 0)]);
    until_consumed(&case, 1).await;
    let replace = format!(
        "UPDATE pipeline SET id = 'another';
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
    );
    superuser.batch_execute(&replace).await.unwrap();
    case.topic.purchases(0, &[("A", "1", 1)]);
    processor.says("was replaced").await;
    // The next start checks the schema again, and continues at its offsets.
    until_consumed(&case, 2).await;
    case.assert_exact().await;
}

#[tokio::test]
async fn failing_close_is_reported_and_processing_continues() {
    let (case, role, superuser) = own_role(&Case::shared().partitions(1).build()).await;
    // Inserting final rows takes longer than the role may need for a statement.
    let slow = format!(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END';
         CREATE TRIGGER slow BEFORE INSERT ON final_rows EXECUTE FUNCTION slow();
         ALTER ROLE {role} SET statement_timeout = '1s'"
    );
    superuser.batch_execute(&slow).await.unwrap();
    let processor = start(&case, &[&["--workers", "1"], &PROBES[..]].concat());
    case.topic.purchases(0, &[("A", "1", 0), ("A", "1", 4000)]);
    until_consumed(&case, 2).await;
    until_ready(&processor, 503, "closing windows fails: ").await;
    let stored = "SELECT close_failure LIKE '%statement timeout%' AND close_failed_at IS NOT NULL FROM pipeline";
    until(&case, "the failure is stored", stored).await;
    let failed =
        async || http(&processor, "/metrics").await.1.contains("retail_closes_total{result=\"failed\"}").then_some(());
    eventually("the failure is counted", failed).await;
    processor.says(" WARN worker-0, postgres closing: closing windows fails").await;
    let held = async || {
        let metrics = http(&processor, "/metrics").await.1;
        metrics.contains("retail_watermark_held_seconds{partition=\"\",reason=\"closing\"} ").then_some(())
    };
    eventually("the failure is named as what holds the watermark", held).await;
    let recorded = "SELECT detail LIKE 'closing windows fails: %statement timeout%' FROM watermark_hold";
    until(&case, "it is recorded", recorded).await;
    // Records are still committed.
    case.topic.purchases(0, &[("A", "1", 4001)]);
    until_consumed(&case, 3).await;
    assert_eq!(case.text("SELECT count(*) FROM final_rows").await, "0");

    superuser.batch_execute("DROP TRIGGER slow ON final_rows").await.unwrap();
    until(&case, "the window is closed", "SELECT count(*) = 1 FROM final_rows").await;
    until(&case, "the success is stored", "SELECT close_failure IS NULL AND close_failed_at IS NULL FROM pipeline")
        .await;
    until_ready(&processor, 200, "ready").await;
    until(&case, "nothing holds the watermark", "SELECT count(*) = 0 FROM watermark_hold").await;
    assert!(http(&processor, "/metrics").await.1.contains("retail_closes_total{result=\"ok\"}"));
    case.assert_exact().await;
}
