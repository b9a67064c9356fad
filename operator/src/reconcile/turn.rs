//! The turn of a pass: its permit, which it gives back while it waits for Kafka or Postgres.

use std::sync::{Arc, Mutex, PoisonError};

use crate::fair_permits::{FairPermits, Permit};

/// The turn of a pass.
pub(crate) struct Turn<'a> {
    permits: &'a Arc<FairPermits>,
    namespace: &'a str,
    permit: Mutex<Option<Permit>>,
}

impl<'a> Turn<'a> {
    /// Waits for the turn.
    pub(crate) async fn begin(permits: &'a Arc<FairPermits>, namespace: &'a str) -> Self {
        let permit = permits.acquire(namespace).await;
        Self { permits, namespace, permit: Mutex::new(Some(permit)) }
    }

    /// Waits without a permit, so that other passes run.
    pub(crate) async fn wait_for<T>(&self, answer: impl Future<Output = T>) -> T {
        self.set(None);
        let answer = answer.await;
        let permit = self.permits.acquire(self.namespace).await;
        self.set(Some(permit));
        answer
    }

    fn set(&self, permit: Option<Permit>) {
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }
}
