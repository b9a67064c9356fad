//! Waiting for conditions instead of fixed times.

use std::time::{Duration, Instant};

/// Repeats `ask` until it returns a value.
///
/// # Panics
///
/// After two minutes, with `what` in the message. A busy machine needs far less.
pub async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(Duration::from_secs(120), what, ask).await
}

/// Repeats `ask` until it returns a value.
///
/// # Panics
///
/// After `limit`, with `what` in the message.
pub async fn within<T>(limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "timeout after {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
