//! Waiting for conditions, never for seconds.

use std::time::{Duration, Instant};

/// Asks again and again until there is an answer.
///
/// # Panics
///
/// After two minutes, saying `what` did not happen: far beyond what anything here takes on a busy machine.
pub async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(Duration::from_secs(120), what, ask).await
}

/// Asks again and again until there is an answer.
///
/// # Panics
///
/// After `limit`, saying `what` did not happen.
pub async fn within<T>(limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "this did not happen within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
