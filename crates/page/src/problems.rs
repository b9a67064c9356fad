//! The problems of a pipeline, each as a sentence with its fix.

use crate::format::time;
use crate::state::State;

/// The problems, those of the page itself first.
pub(crate) fn problems(state: &State<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(error) = state.error {
        let age = state.status.map(|status| format!("; this page shows the state of {}", time(status.taken_at)));
        problems.push(format!("Postgres: {error}{}", age.unwrap_or_default()));
    }
    problems.extend(state.status.into_iter().flat_map(|status| status.problems.iter().cloned()));
    if !state.is_balanced() {
        problems.push(
            "the fates of a partition do not add up to its offsets: `retail verify` names each difference".to_owned(),
        );
    }
    problems
}
