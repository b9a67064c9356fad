//! Deletes the dead letters that exceed the bounds of `spec.deadLetters`, and keeps their number and size for /metrics.

use std::time::{Duration, Instant};

use retail_store::{DatabaseError, Store};

use crate::state::State;

/// Interval between two searches for dead letters to delete.
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
    /// Starts a round, if one is due. A failure is logged once: processing does not depend on it, but the table grows.
    pub(crate) async fn round(&mut self, store: &Store, state: &State) {
        if self.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            return;
        }
        match expire(store, state).await {
            Ok(deleted) => {
                self.failing = false;
                if deleted > 0 {
                    tracing::info!("deleted {deleted} dead letters that exceed the bounds of spec.deadLetters");
                }
            }
            Err(error) if error.kind.may_pass() => {}
            Err(error) => {
                if !self.failing {
                    tracing::warn!("dead letters cannot be deleted, and their table grows: {error}");
                }
                self.failing = true;
            }
        }
        self.last = Some(Instant::now());
    }
}

async fn expire(store: &Store, state: &State) -> Result<i64, DatabaseError> {
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
