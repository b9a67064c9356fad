//! Timeouts of the API server's clients.

use std::time::Duration;

/// Timeout of a request to the API server.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Timeout of a watch without data: the API server ends a watch after at most 290 seconds, so a longer silence means a lost
/// connection.
pub const WATCH_TIMEOUT: Duration = Duration::from_secs(300);
