//! What a handful of repetitions says.

use serde::{Deserialize, Serialize};

/// The least, the middle and the most of some figures.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Nothing of no figures.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let sorted = sorted(figures);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Self { min, median, max })
    }

    /// Each of them times a positive number.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self { min: self.min * factor, median: self.median * factor, max: self.max * factor }
    }
}

/// The figures that so many percent do not exceed. Nearest rank: each answer is one of the figures.
pub(crate) fn percentiles<const N: usize>(
    figures: impl IntoIterator<Item = f64>,
    percents: [f64; N],
) -> Option<[f64; N]> {
    let sorted = sorted(figures);
    let last = sorted.len().checked_sub(1)?;
    let rank = |percent: f64| ((percent / 100.0 * sorted.len() as f64).ceil() as usize).saturating_sub(1);
    Some(percents.map(|percent| sorted[rank(percent).min(last)]))
}

fn sorted(figures: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order_and_the_number() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 100.0]), Some(Spread { min: 1.0, median: 3.0, max: 100.0 }));
        assert_eq!(Spread::of([7.0]), Some(Spread { min: 7.0, median: 7.0, max: 7.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn percentiles_are_figures_that_were_measured() {
        let hundred = (1..=100).rev().map(f64::from);
        assert_eq!(percentiles(hundred, [50.0, 95.0, 99.0, 100.0]), Some([50.0, 95.0, 99.0, 100.0]));
        assert_eq!(percentiles([5.0, 9.0], [50.0, 99.0]), Some([5.0, 9.0]));
        assert_eq!(percentiles([], [50.0]), None);
    }
}
