//! Clients of the API server, and how long they wait.

use std::time::Duration;

/// How long the API server may take to answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A watch ends by itself after at most 290 seconds; one that is silent for longer has lost its server.
pub const WATCH_TIMEOUT: Duration = Duration::from_secs(300);
