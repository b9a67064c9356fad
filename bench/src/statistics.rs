//! Statistics of repeated measurements.

use serde::{Deserialize, Serialize};

/// Minimum, median and maximum of some figures.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Returns `None` without figures.
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

    /// Multiplies by a positive factor.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self { min: self.min * factor, median: self.median * factor, max: self.max * factor }
    }
}

/// Returns percentiles by nearest rank: each is one of the figures.
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
    fn spread_of_unsorted_figures_has_the_median() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 100.0]), Some(Spread { min: 1.0, median: 3.0, max: 100.0 }));
        assert_eq!(Spread::of([7.0]), Some(Spread { min: 7.0, median: 7.0, max: 7.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn percentiles_are_measured_figures() {
        let hundred = (1..=100).rev().map(f64::from);
        assert_eq!(percentiles(hundred, [50.0, 95.0, 99.0, 100.0]), Some([50.0, 95.0, 99.0, 100.0]));
        assert_eq!(percentiles([5.0, 9.0], [50.0, 99.0]), Some([5.0, 9.0]));
        assert_eq!(percentiles([], [50.0]), None);
    }
}
