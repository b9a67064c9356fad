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

/// By the number of bits of a lateness in microseconds: the bucket that it is in, and beyond which lateness it is in the next one
/// instead. No two bounds have as many bits. So a look-up and one comparison find the bucket, where a search would have to guess
/// which way to go.
const NEAREST: [(usize, i64); 65] = {
    let mut nearest = [(0, i64::MAX); 65];
    let mut bits = 0;
    while bits < nearest.len() {
        let mut bucket = 0;
        while bucket < BOUNDS_SECONDS.len() {
            let bound = Span::from_secs(BOUNDS_SECONDS[bucket]).as_micros();
            let bound_bits = 64 - bound.leading_zeros() as usize;
            assert!(
                nearest[bound_bits].1 == i64::MAX || nearest[bound_bits].1 == bound,
                "two bounds with as many bits"
            );
            if bound_bits < bits {
                nearest[bits].0 = bucket + 1;
            } else if bound_bits == bits {
                nearest[bits].1 = bound;
            }
            bucket += 1;
        }
        bits += 1;
    }
    nearest
};

impl Lateness {
    /// Counts one event; one that was not behind counts as zero.
    pub fn observe(&mut self, lateness: Span) {
        let (bucket, bound) = NEAREST[64 - lateness.as_micros().leading_zeros() as usize];
        let bucket = bucket + usize::from(lateness.as_micros() > bound);
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

    #[test]
    fn every_lateness_is_in_the_first_bucket_whose_bound_is_not_below_it() {
        let bounds = BOUNDS_SECONDS.iter().map(|bound| u64::from(*bound) * 1_000_000);
        let powers = (0..63).map(|bit| 1 << bit);
        for near in bounds.chain(powers) {
            for micros in [near - 1, near, near + 1] {
                let mut lateness = Lateness::default();
                let span = Span::from(std::time::Duration::from_micros(micros));
                lateness.observe(span);
                let bucket = BOUNDS_SECONDS.partition_point(|bound| Span::from_secs(*bound) < span);
                assert_eq!(lateness.buckets[bucket], 1, "{micros} µs");
            }
        }
    }
}
