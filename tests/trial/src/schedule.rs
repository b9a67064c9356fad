//! The schedule of a round, drawn from a seed: the same seed gives the same schedule.

use std::collections::BTreeMap;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use serde::Serialize;

use crate::kind::Kind;
use crate::layout::Layout;
use crate::weights::Weights;

/// Spans of deduplication in minutes. Event time passes them in one to five seconds, so that ids also stop to count.
const SPANS: [u64; 4] = [5, 10, 20, 20];

/// The records of rounds. Those in Avro are the only ones that faults of the registry concern.
const LAYOUTS: [Layout; 8] = [
    Layout::Tutorial,
    Layout::Avro,
    Layout::Items,
    Layout::Tutorial,
    Layout::Avro,
    Layout::Orders,
    Layout::Tutorial,
    Layout::Avro,
];

/// The least and the largest number of faults of a round. A round with more faults costs less for each.
const FAULTS: (usize, usize) = (14, 20);

/// The largest number of faults of the registry in a round, because they wait for each other.
const OF_REGISTRY: usize = 5;

/// The faults of a round in which the registry is away for minutes, next to its restart and its absence.
const OF_OUTAGE: [Kind; 14] = [
    Kind::Killed,
    Kind::Killed,
    Kind::Killed,
    Kind::Killed,
    Kind::Killed,
    Kind::Suspended,
    Kind::Suspended,
    Kind::SessionTerminated,
    Kind::PostgresCut,
    Kind::KafkaCut,
    Kind::BrokerKilled,
    Kind::LeaderMoved,
    Kind::BadRecords,
    Kind::BadRecords,
];

/// The longest absence. Event time passes 24 hours in six minutes, and must not reach the clock.
pub const LONGEST_OUTAGE_S: u64 = 240;

/// The time in which the faults of a round begin.
const DRAWN_MS: u64 = 8000;

/// A fault of a schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Fault {
    /// Milliseconds from the beginning of the round. A fault waits for another one of the same server or processor.
    pub at_ms: u64,
    /// Its kind.
    pub kind: Kind,
    /// Decides which server, processor or partition it concerns, and its variant.
    pub choice: u64,
    /// How long it lasts, if its kind has a duration.
    pub lasts_ms: u64,
}

impl Fault {
    /// Chooses one of `count` things. Different `place`s give independent choices.
    pub const fn choose(&self, place: u32, count: usize) -> usize {
        (self.choice >> (place * 12)) as usize % 4096 % count
    }
}

/// The settings and the faults of a round.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Schedule {
    /// Number of partitions of the topic.
    pub partitions: i32,
    /// Number of processors.
    pub processors: usize,
    /// Number of workers of each processor.
    pub workers: usize,
    /// Whether the processors reach Postgres through PgBouncer.
    pub pooled: bool,
    /// Whether producers set the timestamps of records.
    pub create_time: bool,
    /// Whether late events are dropped instead of stored.
    pub drops_late: bool,
    /// Interval between commits.
    pub trigger_ms: u64,
    /// Purchases per second.
    pub rate: u32,
    /// Seed of the purchases.
    pub purchases: u64,
    /// The fields of the records.
    pub layout: Layout,
    /// The span of deduplication in minutes, if records are deduplicated.
    pub within_min: Option<u64>,
    /// The faults, by time.
    pub faults: Vec<Fault>,
}

impl Schedule {
    /// Chooses deduplication by the seed of the records. All rounds with a mapping have it, and a quarter of the others.
    fn with_deduplication(mut self) -> Self {
        let choose = |place: u32, count: usize| (self.purchases >> place) as usize % 256 % count;
        let deduplicates = self.layout != Layout::Tutorial || choose(8, 4) == 0;
        self.within_min = deduplicates.then(|| SPANS[choose(16, SPANS.len())]);
        self
    }
}

/// Draws kinds so that each comes as often as its weight says, also in few rounds: from a bag that is filled again when empty.
#[derive(Debug)]
pub struct Draws {
    seed: u64,
    /// The kinds of a full bag.
    kinds: Vec<Kind>,
    bag: Vec<Kind>,
    random: Xoshiro256PlusPlus,
}

impl Draws {
    /// The draws of a seed.
    pub fn of(seed: u64, weights: &Weights) -> Self {
        Self { seed, kinds: weights.bag(), bag: Vec::new(), random: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    fn kind(&mut self) -> Kind {
        if self.bag.is_empty() {
            self.bag.clone_from(&self.kinds);
            for at in (1..self.bag.len()).rev() {
                self.bag.swap(at, self.random.next_u64() as usize % (at + 1));
            }
        }
        self.bag.pop().unwrap_or(Kind::Killed)
    }

    /// The schedule of the next round.
    pub fn next_round(&mut self) -> Schedule {
        let count = FAULTS.0 + self.random.next_u64() as usize % (FAULTS.1 - FAULTS.0 + 1);
        let mut layout = LAYOUTS[self.random.next_u64() as usize % LAYOUTS.len()];
        if self.kinds.iter().all(|kind| kind.needs_registry()) {
            layout = Layout::Avro;
        }
        let (mut kinds, mut later) = (Vec::new(), Vec::new());
        while kinds.len() < count && later.len() < 4 * count {
            let kind = self.kind();
            // All brokers lose records once in a round at most, because this begins a new schema.
            let again = kind == Kind::ClusterDiskRestored && kinds.contains(&kind);
            let of_registry = kinds.iter().filter(|kind| kind.needs_registry()).count();
            let waits = kind.needs_registry() && (!layout.has_registry() || of_registry >= OF_REGISTRY);
            if again || waits { later.push(kind) } else { kinds.push(kind) }
        }
        self.bag.extend(later);
        self.round_of(&kinds, layout)
    }

    /// A round with these kinds and records.
    pub fn round_of(&mut self, kinds: &[Kind], layout: Layout) -> Schedule {
        let mut number = |bound: u64| self.random.next_u64() % bound;
        let mut faults: Vec<Fault> = kinds
            .iter()
            .map(|kind| Fault {
                at_ms: number(DRAWN_MS),
                kind: *kind,
                choice: number(u64::MAX),
                lasts_ms: 500 + number(3500),
            })
            .collect();
        faults.sort_by_key(|fault| (fault.kind == Kind::ClusterDiskRestored, fault.at_ms));
        Schedule {
            partitions: 2 + number(5) as i32,
            processors: 2 + number(3) as usize,
            workers: 1 + number(2) as usize,
            pooled: kinds.contains(&Kind::PoolerRestarted),
            create_time: number(4) == 0,
            drops_late: number(5) == 0,
            trigger_ms: [100, 300, 300, 1000][number(4) as usize],
            rate: 100 + number(300) as u32,
            purchases: number(u64::MAX),
            layout,
            within_min: None,
            faults,
        }
        .with_deduplication()
    }

    /// A round in Avro in which the registry restarts and then is away for this time, while processors end and partitions move.
    pub fn outage(&mut self, seconds: u64) -> Schedule {
        let lasts_ms = seconds.min(LONGEST_OUTAGE_S) * 1000;
        let mut schedule = self.round_of(&OF_OUTAGE, Layout::Avro);
        let fault = |kind, at_ms, lasts_ms, choice| Fault { at_ms, kind, choice, lasts_ms };
        for fault in &mut schedule.faults {
            fault.at_ms = fault.at_ms * lasts_ms / DRAWN_MS;
        }
        let mut choice = || self.random.next_u64();
        schedule.faults.push(fault(Kind::RegistryKilled, 0, 1000, choice()));
        // It waits for the end of the restart.
        schedule.faults.push(fault(Kind::RegistryAway, 1000, lasts_ms, choice()));
        schedule.faults.sort_by_key(|fault| fault.at_ms);
        // Minutes have as many records as other rounds.
        schedule.rate /= 4;
        schedule
    }

    /// The seed.
    pub const fn seed(&self) -> u64 {
        self.seed
    }
}

/// Number of faults by kind.
pub fn count(faults: &[Fault]) -> BTreeMap<Kind, u64> {
    faults.iter().fold(BTreeMap::new(), |mut counts, fault| {
        *counts.entry(fault.kind).or_default() += 1;
        counts
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::KINDS;

    fn rounds(seed: u64, rounds: usize) -> Vec<Schedule> {
        let mut draws = Draws::of(seed, &Weights::default());
        (0..rounds).map(|_| draws.next_round()).collect()
    }

    #[test]
    fn seed_repeats_the_schedule() {
        assert_eq!(rounds(7, 20), rounds(7, 20));
        assert_ne!(rounds(7, 20), rounds(8, 20));
    }

    #[test]
    fn ten_thousand_faults_have_three_hundred_of_each_kind() {
        let mut faults = Vec::new();
        let mut draws = Draws::of(1, &Weights::default());
        while faults.len() < 10_000 {
            let round = draws.next_round();
            assert!((FAULTS.0..=FAULTS.1).contains(&round.faults.len()), "{}", round.faults.len());
            assert!(round.faults.iter().filter(|fault| fault.kind == Kind::ClusterDiskRestored).count() <= 1);
            faults.extend(round.faults);
        }
        let counts = count(&faults);
        assert_eq!(counts.len(), KINDS.len());
        assert!(counts.values().all(|count| *count >= 300), "{counts:?}");
    }

    #[test]
    fn faults_of_the_registry_come_in_rounds_with_a_registry_only() {
        for round in rounds(5, 200) {
            let of_registry = round.faults.iter().filter(|fault| fault.kind.needs_registry()).count();
            assert!(of_registry <= if round.layout.has_registry() { OF_REGISTRY } else { 0 }, "{round:?}");
        }
        let weights = Weights::parse(&["registry_killed".to_owned()]).unwrap();
        let round = Draws::of(1, &weights).next_round();
        assert_eq!((round.layout, round.faults.len()), (Layout::Avro, OF_REGISTRY));
    }

    #[test]
    fn outage_has_all_of_its_faults_within() {
        let round = Draws::of(1, &Weights::default()).outage(150);
        let away = round.faults.iter().find(|fault| fault.kind == Kind::RegistryAway).unwrap();
        assert_eq!((round.layout, away.lasts_ms, round.faults.len()), (Layout::Avro, 150_000, OF_OUTAGE.len() + 2));
        assert!(round.faults.iter().all(|fault| fault.at_ms < 150_000));
        let late = round.faults.iter().filter(|fault| fault.kind == Kind::Killed && fault.at_ms > 20_000).count();
        assert!(late >= 2, "{round:?}");
    }

    #[test]
    fn most_rounds_have_a_mapping_and_deduplicate() {
        let rounds = rounds(3, 400);
        let count = |is: fn(&&Schedule) -> bool| rounds.iter().filter(is).count();
        let mapped = count(|round| round.layout != Layout::Tutorial);
        assert!((210..290).contains(&mapped), "{mapped}");
        assert_eq!(count(|round| round.layout != Layout::Tutorial && round.within_min.is_none()), 0);
        assert!(count(|round| round.layout == Layout::Items) > 30);
        assert!(count(|round| round.layout == Layout::Avro) > 120);
        assert!(count(|round| round.layout == Layout::Tutorial && round.within_min.is_some()) > 20);
    }
}
