//! Deletes the dead letters that exceed the bounds of `spec.deadLetters`, and the rules of records that Kafka has deleted. Keeps the
//! number and the size of dead letters for /metrics.

use std::time::{Duration, Instant};

use retail_store::{DatabaseError, Store};

use crate::state::State;

/// Interval between two searches for rows to delete.
const INTERVAL: Duration = Duration::from_mins(1);

/// Maximum number of deletions in a row, each of up to 1,000 dead letters; the next round continues.
const DELETIONS: u32 = 100;

/// The rounds of a processor.
#[derive(Default)]
pub(crate) struct Expiry {
    last: Option<Instant>,
    failing: bool,
}

impl Expiry {
    /// Starts a round, if one is due. A failure is logged once: processing does not depend on it, but the tables grow. `log_starts` has
    /// the first offsets of all partitions.
    pub(crate) async fn round(&mut self, store: &Store, state: &State, log_starts: &[i64]) {
        if self.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            return;
        }
        match expire(store, state, log_starts).await {
            Ok(deleted) => {
                self.failing = false;
                if deleted > 0 {
                    tracing::info!("deleted {deleted} dead letters that exceed the bounds of spec.deadLetters");
                }
            }
            Err(error) if error.kind.may_pass() => {}
            Err(error) => {
                if !self.failing {
                    tracing::warn!("old dead letters and rules cannot be deleted, and their tables grow: {error}");
                }
                self.failing = true;
            }
        }
        self.last = Some(Instant::now());
    }
}

async fn expire(store: &Store, state: &State, log_starts: &[i64]) -> Result<i64, DatabaseError> {
    store.forget_rules(log_starts).await?;
    let mut total = 0;
    for _ in 0..DELETIONS {
        let expired = store.expire_letters().await?;
        state.letters(expired);
        total += expired.deleted;
        if expired.deleted == 0 {
            break;
        }
    }
    Ok(total)
}
