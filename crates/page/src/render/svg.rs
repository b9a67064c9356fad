//! Coordinates of charts. Horizontal ones are percentages, so that a chart fits every width.

/// A horizontal coordinate or length.
pub(super) fn percent(part: f64) -> String {
    format!("{:.2}%", part * 100.0)
}

/// At most four round values from zero to at least three quarters of `largest`, for the lines of a scale.
pub(super) fn ticks(largest: f64) -> Vec<f64> {
    if largest <= 0.0 {
        return Vec::new();
    }
    let rough = largest / 3.0;
    let magnitude = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * magnitude).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * magnitude);
    (1..=3).map(|number| f64::from(number) * step).take_while(|tick| *tick <= largest * 1.0001).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_scale() {
        assert_eq!(ticks(0.0), [] as [f64; 0]);
        assert_eq!(ticks(100.0), [50.0, 100.0]);
        assert_eq!(ticks(61_000.0), [25_000.0, 50_000.0]);
        assert_eq!(ticks(3.0), [1.0, 2.0, 3.0]);
    }
}
