//! Everything at once: processors are killed, put to sleep, sent away and cut off while both servers fall over, and in the
//! end every row is what the topic says.
//!
//! `RETAIL_CHAOS_SEED` repeats a run's faults and purchases, `RETAIL_CHAOS_EVENTS` makes it longer: the faults grow with it.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use retail_producer::plan::{PlanArgs, Rate};
use retail_testbed::{Case, Kafka, Postgres, Program, eventually};

use crate::programs::{FAULTY, LIMIT, catch_up, sending, start, until, until_consumed};

const MILLION: u64 = 1_000_000;

/// Purchases a second: a million of them leave time for the faults, and none for a rest between them.
const RATE: u32 = 10_000;

/// How much faster than the clock event time runs: some fifty windows close on the way.
const SPEED: u32 = 180;

/// The shortest that the broker allows; a zombie sleeps longer.
const SESSION_TIMEOUT: &str = "6s";

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// A processor is killed, and another started.
    Kill,
    /// A processor leaves in order, and another joins.
    Leave,
    /// A processor sleeps until others have its partitions, and wakes up.
    Zombie,
    /// A worker's session with Postgres is killed.
    Session,
    /// The broker is killed, and comes back.
    KafkaKilled,
    /// The broker is restarted.
    KafkaRestarted,
    /// Postgres is killed, and comes back.
    PostgresKilled,
    /// Postgres is restarted.
    PostgresRestarted,
}

/// How often each happens in a million purchases.
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
    crew: Vec<Program>,
}

impl Chaos {
    /// Starts a processor, which adds to rows, or appends to the delta log, or does both.
    fn hire(&mut self) {
        let delta_log_from = ["1", "5", "1000"][self.random.next_u64() as usize % 3];
        let arguments = ["--workers", "1", "--session-timeout", SESSION_TIMEOUT, "--delta-log-from", delta_log_from];
        self.crew.push(start(&self.case, &arguments));
    }

    /// Takes a processor at random out of the crew.
    fn pick(&mut self) -> Program {
        let at = self.random.next_u64() as usize % self.crew.len();
        self.crew.swap_remove(at)
    }

    async fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Kill => {
                self.pick().kill();
                self.hire();
            }
            Fault::Leave => {
                let mut leaves = self.pick();
                // One that was started a moment ago knows of no signals yet.
                leaves.says("processing topic").await;
                leaves.signal("TERM");
                assert_eq!(leaves.exit_code(LIMIT).await, 0, "{}", leaves.output());
                self.hire();
            }
            Fault::Zombie => {
                let zombie = self.pick();
                let owns =
                    format!("SELECT count(*) > 0 FROM partition_progress WHERE owner LIKE '%/{}/%'", zombie.pid());
                until(&self.case, "the processor owns a partition", &owns).await;
                zombie.signal("STOP");
                until(&self.case, "others own what the zombie owned", &owns.replace("> 0", "= 0")).await;
                zombie.signal("CONT");
                self.crew.push(zombie);
            }
            Fault::Session => {
                let cut_off = self.pick();
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
                self.crew.push(cut_off);
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
    let case = Case::on(&kafka.address(), &postgres.url()).partitions(8).start().await;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let plan = plan(&mut random, events);
    let (rate, speed) = (Some(Rate::PerSecond(RATE)), Some(SPEED));
    let args = PlanArgs { events: Some(events), seed: Some(seed), rate, speed, ..FAULTY };
    let (sent, sending) = sending(&case, args);

    let mut chaos = Chaos { case, kafka, postgres, random, crew: Vec::new() };
    (0..3).for_each(|_| chaos.hire());
    for (offsets, fault) in plan {
        let reached = format!("SELECT sum(consumed) >= {offsets} FROM ledger");
        until(&chaos.case, &format!("{offsets} offsets are consumed, before {fault:?}"), &reached).await;
        eprintln!("{offsets} consumed, {} sent: {fault:?}", sent.events());
        chaos.strike(fault).await;
    }
    assert_eq!(sending.await.unwrap().acknowledged, events);

    let Chaos { case, kafka: _kafka, postgres: _postgres, random: _, crew } = chaos;
    let offsets: i64 = (0..8).map(|partition| case.topic.end(partition)).sum();
    until_consumed(&case, offsets).await;
    for mut processor in crew {
        processor.signal("TERM");
        assert_eq!(processor.exit_code(LIMIT).await, 0, "{}", processor.output());
    }
    // Closes what can be closed.
    catch_up(&case).await;
    let report = case.assert_exact().await;
    assert_eq!(report.offsets, offsets);
    let fates = "SELECT min(least(applied, late, invalid, future)) > 0 AND sum(consumed) = sum(applied + late + invalid + future + gaps) FROM ledger";
    assert_eq!(case.text(fates).await, "true", "every fate happened in every partition");
    assert_eq!(case.text("SELECT count(DISTINCT window_start) > 20 FROM retail_final").await, "true");
    let history = "
        SELECT count(*) FROM (
            SELECT running_total <> sum(total_amount) OVER (PARTITION BY category, payment_method ORDER BY window_start) AS wrong
            FROM retail) rows WHERE wrong";
    assert_eq!(case.text(history).await, "0");

    // The same topic gives the same table: once more from the beginning, in one go, where nothing goes wrong.
    let calm = case.with_schema(&format!("{}_calm", case.settings.pipeline.schema));
    calm.apply_schema().await;
    catch_up(&calm).await;
    assert_eq!(case.ledger().await, calm.ledger().await);
    assert_eq!(case.retail().await, calm.retail().await);
}
