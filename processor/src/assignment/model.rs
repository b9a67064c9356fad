//! A model test of [`Assignment`]: random interleavings of a consumer group, a store and workers that execute its actions.
//!
//! Checked after each step, in `worker` and `group`:
//! 1. At most one request is with the committer.
//! 2. Every rebalance is answered exactly once, in order, with its own partitions.
//! 3. The consumer is assigned a partition only after its claim, at the claimed offset; it is never assigned a partition twice,
//!    nor unassigned one that it does not have.
//! 4. The engine's partitions are the owned ones, or none between a reset and the next read of all positions. The consumer's
//!    are the owned and the contested ones.
//! 5. No partition with uncommitted records is released, and none while a request is with the committer.
//! 6. No record is counted twice in the store, and the engine never skips one.
//! 7. A draining worker leaves once everything is committed, or gives up at the time limit; it does not give up while the store
//!    answers.
//!
//! And once all faults have stopped:
//! 8. Every partition is owned by the member to which the group assigned it, also while records arrive all the time; and every
//!    record is counted exactly once.

mod group;
mod store;
mod worker;

use std::time::{Duration, Instant};

use group::Group;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use store::Store;
use worker::{End, Reached, Worker};

use super::{CLAIM_BACK_DELAY, DRAIN_TIMEOUT, Facts};

const WORKERS: usize = 3;
const PARTITIONS: usize = 4;

/// Enough rounds of a second for every partition to move, to be contested and to be claimed back.
const BUSY_ROUNDS: usize = 20;
const QUIET_ROUNDS: usize = 20;

/// Rounds in a row without a change after which nothing more happens: longer than the delay before a claim back.
const SETTLED_ROUNDS: usize = 5;

/// Longest sequence of random steps.
const STEPS: usize = 400;

/// One thing that happens: to a worker, to a partition, or to the group.
#[derive(Clone, Debug)]
enum Step {
    /// A producer appends records.
    Append(usize, i64),
    /// The group decides which member gets which partition.
    Plan([usize; PARTITIONS]),
    /// A member's consumer is polled and may report a rebalance.
    Poll(usize),
    /// A worker takes its next step.
    Next(usize, Facts),
    /// A worker reads at most so many records of a partition.
    Read(usize, usize, i64),
    /// The store executes a worker's request.
    Execute(usize),
    /// The reply reaches the worker.
    Deliver(usize),
    /// Windows were closed over an idle partition: batches judged by the old floor are fenced.
    RaiseFloor(usize),
    /// A worker outside of the group claims a partition, and ends.
    ForeignClaim(usize),
    /// The group removes a member that still runs, as after a long pause, and gives its partitions to others.
    LoseSession(usize),
    /// A worker is killed and started again.
    Kill(usize),
    /// A worker starts to drain.
    Drain(usize),
    Wait(Duration),
}

struct World {
    now: Instant,
    store: Store,
    group: Group,
    workers: Vec<Worker>,
    reached: Reached,
    /// Since when nothing fails any more.
    settling_since: Option<Instant>,
}

impl World {
    fn new() -> Self {
        let workers = (0..WORKERS).map(Worker::new).collect();
        Self {
            now: Instant::now(),
            store: Store::new(PARTITIONS),
            group: Group::new(PARTITIONS, WORKERS),
            workers,
            reached: Reached::default(),
            settling_since: None,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append(partition, records) => self.store.rows[partition].log_end += records,
            Step::Plan(target) => self.group.plan(&target),
            Step::Poll(worker) => self.workers[worker].poll(&mut self.group, &self.store),
            Step::Next(worker, facts) => self.next(worker, facts),
            Step::Read(worker, partition, records) => {
                self.workers[worker].read(&mut self.group, &self.store, partition as i32, records);
            }
            Step::Execute(worker) => self.workers[worker].execute(&mut self.store),
            Step::Deliver(worker) => self.workers[worker].deliver(&mut self.group, &self.store, self.now),
            Step::RaiseFloor(partition) => self.store.rows[partition].floor += 1,
            Step::ForeignClaim(partition) => self.store.rows[partition].epoch += 1,
            Step::LoseSession(worker) => self.group.lose_session(worker),
            Step::Kill(worker) => self.restart(worker),
            Step::Drain(worker) => self.workers[worker].drain(self.now),
            Step::Wait(time) => self.now += time,
        }
    }

    fn next(&mut self, worker: usize, facts: Facts) {
        let Some(end) = self.workers[worker].next(&mut self.group, &self.store, self.now, facts) else { return };
        if let (End::GaveUp(draining_since), Some(settling_since)) = (end, self.settling_since) {
            // Invariant 7: once every request is answered, a drain takes a few rounds.
            let left = DRAIN_TIMEOUT.saturating_sub(settling_since - draining_since);
            assert!(left < Duration::from_secs(5), "worker {worker} gave up although the store answered for {left:?}");
        }
        self.restart(worker);
    }

    fn restart(&mut self, worker: usize) {
        self.group.restart(worker);
        self.reached += self.workers[worker].take_reached();
        self.workers[worker] = Worker::new(worker);
    }

    /// Nothing fails any more, every request is answered, and time passes. Invariant 8.
    fn settle(&mut self) {
        self.settling_since = Some(self.now);
        // Partitions move although records arrive all the time, so that no commit leaves a worker without uncommitted ones.
        for _ in 0..BUSY_ROUNDS {
            self.round(true);
        }
        assert_eq!(self.misplaced(), None);
        let mut settled_rounds = 0;
        for _ in 0..QUIET_ROUNDS {
            self.round(false);
            settled_rounds = if self.unsettled().is_none() { settled_rounds + 1 } else { 0 };
            if settled_rounds == SETTLED_ROUNDS {
                return;
            }
        }
        panic!("{:?}", self.unsettled());
    }

    /// A second in which every worker takes a few steps. In a busy one, records arrive and are read between any two of them.
    fn round(&mut self, busy: bool) {
        let facts = Facts { commit_due: true, ..Facts::default() };
        self.step(&Step::Wait(Duration::from_secs(1)));
        for worker in 0..WORKERS {
            for _ in 0..4 {
                self.step(&Step::Poll(worker));
                self.step(&Step::Next(worker, facts));
                self.step(&Step::Execute(worker));
                for partition in 0..PARTITIONS {
                    self.step(&Step::Append(partition, busy.into()));
                    self.step(&Step::Read(worker, partition, i64::MAX));
                }
                self.step(&Step::Deliver(worker));
            }
        }
    }

    /// A partition that is not owned by its member alone.
    fn misplaced(&self) -> Option<String> {
        for (partition, row) in self.store.rows.iter().enumerate() {
            let member = self.group.member_of(partition as i32);
            for (number, worker) in self.workers.iter().enumerate() {
                let owns = worker.owned().get(&(partition as i32)) == Some(&row.epoch);
                if owns != (number == member) {
                    return Some(format!("member {member} should own partition {partition}: {worker:?}"));
                }
            }
        }
        None
    }

    /// The first violation of invariant 8.
    fn unsettled(&self) -> Option<String> {
        if let Some(misplaced) = self.misplaced() {
            return Some(misplaced);
        }
        for (partition, row) in self.store.rows.iter().enumerate() {
            if row.counted.len() as i64 != row.log_end || row.counted.iter().any(|count| *count != 1) {
                return Some(format!("partition {partition} is not counted exactly once: {row:?}"));
            }
        }
        self.workers.iter().find(|worker| !worker.is_quiet()).map(|worker| format!("not quiet: {worker:?}"))
    }
}

/// A step from a random number, by weight.
fn step(random: u64) -> Step {
    let mut rest = random;
    let mut below = |bound: u64| {
        let value = rest % bound;
        rest /= bound;
        value
    };
    let kind = below(100);
    let worker = below(WORKERS as u64) as usize;
    let partition = below(PARTITIONS as u64) as usize;
    match kind {
        0..6 => Step::Append(partition, 1 + below(3) as i64),
        6..8 => Step::Plan(std::array::from_fn(|_| below(WORKERS as u64) as usize)),
        8..23 => Step::Poll(worker),
        23..46 => {
            let (commit_due, idle_due, disconnected) = (below(2) == 0, below(2) == 0, below(16) == 0);
            Step::Next(worker, Facts { has_uncommitted: false, commit_due, idle_due, disconnected })
        }
        46..61 => Step::Read(worker, partition, 1 + below(3) as i64),
        61..75 => Step::Execute(worker),
        75..89 => Step::Deliver(worker),
        89 => Step::RaiseFloor(partition),
        90 => Step::ForeignClaim(partition),
        91 => Step::LoseSession(worker),
        92 => Step::Kill(worker),
        93 => Step::Drain(worker),
        94..97 => Step::Wait(Duration::from_millis(100 + below(4_000))),
        97..99 => Step::Wait(CLAIM_BACK_DELAY),
        _ => Step::Wait(DRAIN_TIMEOUT + Duration::from_millis(1)),
    }
}

/// Numbers rather than steps: proptest is not optimised in a test build, and generates them ten times faster.
fn steps() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(any::<u64>(), 0..STEPS)
}

/// The same cases in every run; PROPTEST_CASES and PROPTEST_RNG_SEED select more, or others.
fn cases(cases: u32) -> ProptestConfig {
    let is_set = |variable| std::env::var_os(variable).is_some();
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if !is_set("PROPTEST_CASES") {
        config.cases = cases;
    }
    if !is_set("PROPTEST_RNG_SEED") {
        config.rng_seed = RngSeed::Fixed(0);
    }
    config
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn assignment_any_interleaving_keeps_invariants(numbers in steps()) {
        let steps: Vec<Step> = numbers.into_iter().map(step).collect();
        let run = || {
            let mut world = World::new();
            steps.iter().for_each(|step| world.step(step));
            world.settle();
        };
        if let Err(panic) = std::panic::catch_unwind(run) {
            println!("failed after {steps:?}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// The random steps reach every kind of event; otherwise the test above would not check all of its invariants.
#[test]
fn model_random_steps_reach_every_event() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::new(cases(1));
    let mut reached = Reached::default();
    for _ in 0..5_000 {
        let numbers = steps().new_tree(&mut runner).expect("numbers").current();
        let mut world = World::new();
        numbers.into_iter().for_each(|number| world.step(&step(number)));
        reached += world.reached;
        world.workers.iter_mut().for_each(|worker| reached += worker.take_reached());
    }
    reached.assert_all();
}
