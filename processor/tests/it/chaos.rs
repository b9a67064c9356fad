//! All faults together: processors are killed, suspended, stopped and disconnected while both servers fail. At the end every
//! row matches the topic, in which 3 % of the purchases were sent twice.
//!
//! `RETAIL_CHAOS_SEED` repeats the faults and purchases of a run; `RETAIL_CHAOS_EVENTS` makes a run longer, with more faults.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use retail_producer::plan::{PlanArgs, Rate};
use retail_testbed::{Case, Kafka, Postgres, Program, eventually};

use crate::programs::{FAULTY, LIMIT, catch_up, sending, start, until, until_consumed};

const MILLION: u64 = 1_000_000;

/// Purchases per second: a million of them leave time for all faults, without a pause between them.
const RATE: u32 = 10_000;

/// Speed of event time: about fifty windows close during a run.
const SPEED: u32 = 180;

/// The shortest that the broker allows; a zombie is suspended for longer.
const SESSION_TIMEOUT: &str = "6s";

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// A processor is killed, and another one starts.
    Kill,
    /// A processor is stopped with a signal, and another one starts.
    Leave,
    /// A processor is suspended until others have its partitions, and continues.
    Zombie,
    /// A worker's session with Postgres is killed.
    Session,
    /// The broker is killed and restarted.
    KafkaKilled,
    /// The broker is restarted.
    KafkaRestarted,
    /// Postgres is killed and restarted.
    PostgresKilled,
    /// Postgres is restarted.
    PostgresRestarted,
}

/// Number of each fault in a million purchases.
const FAULTS: [(Fault, usize); 8] = [
    (Fault::Kill, 10),
    (Fault::Leave, 3),
    (Fault::Zombie, 5),
    (Fault::Session, 5),
    (Fault::KafkaKilled, 1),
    (Fault::KafkaRestarted, 1),
    (Fault::PostgresKilled, 1),
    (Fault::PostgresRestarted, 1),
];

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Faults in random order, each with the number of consumed offsets at which it happens.
fn plan(random: &mut Xoshiro256PlusPlus, events: u64) -> Vec<(u64, Fault)> {
    let rounds = events.div_ceil(MILLION) as usize;
    let faults = FAULTS.iter().flat_map(|(fault, times)| std::iter::repeat_n(*fault, times * rounds));
    let mut plan: Vec<_> = faults.map(|fault| (random.next_u64() % (events * 9 / 10), fault)).collect();
    plan.sort_by_key(|(offsets, _)| *offsets);
    plan
}

struct Chaos {
    case: Case,
    kafka: Kafka,
    postgres: Postgres,
    random: Xoshiro256PlusPlus,
    processors: Vec<Program>,
}

impl Chaos {
    /// Starts a processor.
    fn start_processor(&mut self) {
        let arguments = ["--workers", "1", "--session-timeout", SESSION_TIMEOUT];
        self.processors.push(start(&self.case, &arguments));
    }

    /// Removes a random processor from the list.
    fn take_random(&mut self) -> Program {
        let at = self.random.next_u64() as usize % self.processors.len();
        self.processors.swap_remove(at)
    }

    async fn inject(&mut self, fault: Fault) {
        match fault {
            Fault::Kill => {
                self.take_random().kill();
                self.start_processor();
            }
            Fault::Leave => {
                let mut leaves = self.take_random();
                // A processor that has just started does not handle signals yet.
                leaves.says("processing topic").await;
                leaves.signal("TERM");
                assert_eq!(leaves.exit_code(LIMIT).await, 0, "{}", leaves.output());
                self.start_processor();
            }
            Fault::Zombie => {
                let zombie = self.take_random();
                let owns =
                    format!("SELECT count(*) > 0 FROM partition_progress WHERE owner LIKE '%/{}/%'", zombie.pid());
                until(&self.case, "the processor owns a partition", &owns).await;
                zombie.signal("STOP");
                until(&self.case, "others own what the zombie owned", &owns.replace("> 0", "= 0")).await;
                zombie.signal("CONT");
                self.processors.push(zombie);
            }
            Fault::Session => {
                let cut_off = self.take_random();
                let superuser = self.case.client_at(&self.postgres.superuser_url()).await;
                let end = format!(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE '%/{}/%'",
                    cut_off.pid()
                );
                eventually("a session is killed", async || {
                    let killed: i64 = superuser.query_one(&end, &[]).await.unwrap().get(0);
                    (killed > 0).then_some(())
                })
                .await;
                self.processors.push(cut_off);
            }
            Fault::KafkaKilled => {
                self.kafka.kill();
                self.kafka.start();
            }
            Fault::KafkaRestarted => {
                self.kafka.stop();
                self.kafka.start();
            }
            Fault::PostgresKilled => {
                self.postgres.kill();
                self.postgres.start();
            }
            Fault::PostgresRestarted => {
                self.postgres.stop();
                self.postgres.start();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn million_purchases_stay_exact_under_random_faults() {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    let seed = from_environment("RETAIL_CHAOS_SEED", now.into());
    let events = from_environment("RETAIL_CHAOS_EVENTS", MILLION);
    eprintln!("RETAIL_CHAOS_SEED={seed} RETAIL_CHAOS_EVENTS={events} repeats this run");
    let (kafka, postgres) = (Kafka::private(), Postgres::private());
    let case =
        Case::on(&kafka.address(), &postgres.url()).partitions(8).spec("deduplicate: {within: 15m}").start().await;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let plan = plan(&mut random, events);
    let (rate, speed) = (Some(Rate::PerSecond(RATE)), Some(SPEED));
    let args = PlanArgs { events: Some(events), seed: Some(seed), rate, speed, duplicated: Some(3), ..FAULTY };
    let (sent, sending) = sending(&case, args);

    let mut chaos = Chaos { case, kafka, postgres, random, processors: Vec::new() };
    (0..3).for_each(|_| chaos.start_processor());
    for (offsets, fault) in plan {
        let reached = format!("SELECT sum(consumed) >= {offsets} FROM ledger");
        until(&chaos.case, &format!("{offsets} offsets are consumed, before {fault:?}"), &reached).await;
        eprintln!("{offsets} consumed, {} sent: {fault:?}", sent.events());
        chaos.inject(fault).await;
    }
    assert_eq!(sending.await.unwrap().acknowledged, events);

    let Chaos { case, kafka: _kafka, postgres: _postgres, random: _, processors } = chaos;
    let offsets: i64 = (0..8).map(|partition| case.topic.end(partition)).sum();
    until_consumed(&case, offsets).await;
    for mut processor in processors {
        processor.signal("TERM");
        assert_eq!(processor.exit_code(LIMIT).await, 0, "{}", processor.output());
    }
    // Closes the windows that the watermark has passed.
    catch_up(&case).await;
    let report = case.assert_exact().await;
    assert_eq!(report.offsets, offsets);
    let fates = "SELECT min(least(applied, late, invalid, future, duplicate)) > 0 AND sum(consumed) = sum(applied + late + invalid + future + duplicate + gaps) FROM ledger";
    assert_eq!(case.text(fates).await, "true", "every fate happened in every partition");
    assert_eq!(case.text("SELECT count(DISTINCT window_start) > 20 FROM final_rows").await, "true");
    let history = "
        SELECT count(*) FROM (
            SELECT running_total <> sum(total_amount) OVER (PARTITION BY category, payment_method ORDER BY window_start) AS wrong
            FROM retail) rows WHERE wrong";
    assert_eq!(case.text(history).await, "0");

    // The same topic gives the same table: processed again from the start, without faults.
    let calm = case.with_schema(&format!("{}_calm", case.settings.pipeline.schema));
    calm.apply_schema().await;
    catch_up(&calm).await;
    assert_eq!(case.ledger().await, calm.ledger().await);
    let duplicates = "SELECT string_agg(duplicate::text, ' ' ORDER BY partition) FROM ledger";
    assert_eq!(case.text(duplicates).await, calm.text(duplicates).await);
    assert_eq!(case.retail().await, calm.retail().await);
}
