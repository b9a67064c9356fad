//! How late events come: a histogram that costs a few comparisons per event.

use std::ops::AddAssign;

use crate::time::Span;

/// Upper bounds of the buckets in seconds; the last bucket has none.
pub const BOUNDS_SECONDS: [u32; 12] = [1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21_600, 86_400];

/// How far behind the latest time of their partition the applied and late events were.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Lateness {
    /// Events per bucket; the last one holds what is beyond every bound.
    pub buckets: [u64; BOUNDS_SECONDS.len() + 1],
    /// Sum over all events, in microseconds.
    pub sum_micros: u128,
}

impl Lateness {
    /// Counts one event; one that was not behind counts as zero.
    pub fn observe(&mut self, lateness: Span) {
        let bucket = BOUNDS_SECONDS.partition_point(|bound| Span::from_secs(*bound) < lateness);
        self.buckets[bucket] += 1;
        self.sum_micros += u128::from(lateness.as_micros().unsigned_abs());
    }
}

impl AddAssign<&Self> for Lateness {
    fn add_assign(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
        self.sum_micros += other.sum_micros;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let mut lateness = Lateness::default();
        for seconds in [0, 1, 2, 86_400, 86_401] {
            lateness.observe(Span::from_secs(seconds));
        }
        assert_eq!(lateness.buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(lateness.sum_micros, 172_804_000_000);
    }
}
