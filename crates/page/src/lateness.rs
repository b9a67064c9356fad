//! Late events by the additional delay that would have counted them.

use std::time::Duration;

use retail_store::snapshot::LateCount;

/// Additional delays that the page offers.
const STEPS: [u64; 20] =
    [1, 5, 15, 30, 60, 120, 300, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200, 10_800, 14_400, 21_600, 43_200, 86_400];

/// The additional delays, ascending.
pub(crate) fn steps() -> Vec<Duration> {
    STEPS.map(Duration::from_secs).to_vec()
}

/// The events that another delay would have lost.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Choice {
    /// Addition to the delay of the pipeline.
    pub(crate) added: Duration,
    /// Stored late events that this delay would have counted, and that the previous choice would not.
    pub(crate) gained: i64,
    /// Stored late events that would still be late.
    pub(crate) lost: i64,
    /// Sum of their amounts.
    pub(crate) lost_amount: f64,
}

/// The choices from the delay of the pipeline on, until nothing is lost. Leading choices that gain nothing are left out.
///
/// `late` has the counts between the steps, as [`retail_store::snapshot::Detail::late`].
pub(crate) fn choices(late: &[LateCount]) -> Vec<Choice> {
    let mut lost: i64 = late.iter().map(|count| count.events).sum();
    let mut millionths: i128 = late.iter().map(|count| count.amount.as_millionths()).sum();
    let amount = |millionths: i128| millionths as f64 / 1e6;
    let mut choices = vec![Choice { added: Duration::ZERO, gained: 0, lost, lost_amount: amount(millionths) }];
    let first = late.iter().position(|count| count.events > 0).unwrap_or(late.len()).saturating_sub(1);
    for (at, (added, count)) in steps().into_iter().zip(late).enumerate() {
        lost -= count.events;
        millionths -= count.amount.as_millionths();
        if at >= first {
            choices.push(Choice { added, gained: count.events, lost, lost_amount: amount(millionths) });
        }
        if lost == 0 {
            break;
        }
    }
    choices
}

#[cfg(test)]
mod tests {
    use retail_engine::Money;

    use super::*;

    fn late(counts: &[(usize, i64)]) -> Vec<LateCount> {
        let mut late = vec![LateCount::default(); STEPS.len() + 1];
        for (bucket, events) in counts {
            late[*bucket] =
                LateCount { events: *events, amount: Money::from_millionths(i128::from(*events) * 1_500_000) };
        }
        late
    }

    #[test]
    fn each_choice_loses_what_the_previous_one_lost_without_its_gain() {
        let choices = choices(&late(&[(4, 5), (6, 2)]));
        let text = |choice: &Choice| {
            let Choice { added, gained, lost, lost_amount } = choice;
            format!("{added:?} gains {gained}, loses {lost} of {lost_amount}")
        };
        assert_eq!(
            choices.iter().map(text).collect::<Vec<_>>(),
            [
                "0ns gains 0, loses 7 of 10.5",
                "30s gains 0, loses 7 of 10.5",
                "60s gains 5, loses 2 of 3",
                "120s gains 0, loses 2 of 3",
                "300s gains 2, loses 0 of 0",
            ]
        );
    }

    #[test]
    fn events_beyond_all_steps_stay_lost() {
        let choices = choices(&late(&[(0, 1), (STEPS.len(), 3)]));
        assert_eq!(choices.last().map(|choice| (choice.added.as_secs(), choice.lost)), Some((86_400, 3)));
    }

    #[test]
    fn without_late_events_there_is_one_choice() {
        assert_eq!(choices(&late(&[])).len(), 1);
    }
}
