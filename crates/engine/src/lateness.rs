//! A histogram of the lateness of events, at the cost of one comparison per event.

use std::ops::AddAssign;

use crate::time::Span;

/// Inclusive upper bounds of the buckets in seconds; the last bucket has no bound.
pub const BOUNDS_SECONDS: [u32; 12] = [1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21_600, 86_400];

/// Lateness of applied and late events: how far they are behind the latest observed time of their partition.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Lateness {
    /// Events per bucket; the last bucket counts those above all bounds.
    pub buckets: [u64; BOUNDS_SECONDS.len() + 1],
    /// Sum over all events, in microseconds.
    pub sum_micros: u128,
}

/// By the number of bits of a lateness in microseconds: its bucket, and the lateness above which the next bucket applies. No
/// two bounds have the same number of bits, so that a lookup and one comparison find the bucket, without the unpredictable
/// branches of a search.
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
                "two bounds with the same number of bits"
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
    /// Counts one event; the lateness of an event that is not behind is zero.
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
    fn lateness_equal_to_a_bound_is_in_its_bucket() {
        let mut lateness = Lateness::default();
        for seconds in [0, 1, 2, 86_400, 86_401] {
            lateness.observe(Span::from_secs(seconds));
        }
        assert_eq!(lateness.buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(lateness.sum_micros, 172_804_000_000);
    }

    #[test]
    fn lateness_is_in_the_first_bucket_with_a_bound_not_below() {
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
