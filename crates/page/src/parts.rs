//! The parts of a snapshot that the page shows, with their limits.

use retail_store::snapshot::{LargestGroups, LateSteps, LetterReasons, Parts, WindowRange};

use crate::lateness;

/// Number of windows that are shown, from the newest one back: a bar of each has a few pixels on a screen.
pub(crate) const MAX_WINDOWS: i64 = 300;

/// Closed windows that are shown beside the open ones, for comparison.
const CLOSED_WINDOWS: i64 = 24;

/// Number of groups that are shown.
const MAX_GROUPS: i64 = 10;

/// Number of dead letters that are counted, from the newest one back.
pub(crate) const MAX_LETTERS: i64 = 50_000;

pub(crate) fn parts(payloads: bool) -> Parts {
    Parts {
        windows: Some(WindowRange { closed: CLOSED_WINDOWS, most: Some(MAX_WINDOWS) }),
        groups: Some(LargestGroups { most: MAX_GROUPS, closed: None }),
        letters: None,
        reasons: Some(LetterReasons { among: MAX_LETTERS, payloads }),
        late: Some(LateSteps { among: MAX_LETTERS, steps: lateness::steps() }),
    }
}
