//! Questions to a cluster, by kubectl: its contexts and log-ins hold, as for `kubectl retail`.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use retail_connection::text::foreign;
use serde_json::Value;

/// Deadline of one question, and how often its end is looked for. A plugin that obtains a token may wait for a user.
const LIMIT: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(20);

/// A question without an answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("kubectl cannot be run ({0})")]
    Missing(String),
    /// The object, or its kind, does not exist.
    #[error("{0}")]
    Absent(String),
    #[error("{0}")]
    Refused(String),
    #[error("kubectl did not end within {} s", LIMIT.as_secs())]
    Late,
    #[error("kubectl printed no JSON ({0})")]
    Unreadable(String),
}

/// The JSON that `kubectl get ARGUMENTS` prints. Blocks the thread.
pub(super) fn get(arguments: &[&str]) -> Result<Value, AskError> {
    let missing = |error: std::io::Error| AskError::Missing(error.to_string());
    let mut command = Command::new("kubectl");
    command.arg("get").args(arguments).args(["-o", "json", "--request-timeout=5s"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(missing)?;
    // Threads of their own: kubectl waits while a pipe is full.
    let (out, err) = (child.stdout.take().map(collect), child.stderr.take().map(collect));
    let Some(succeeded) = wait(&mut child) else { return Err(AskError::Late) };
    let text = |reader: Option<std::thread::JoinHandle<Vec<u8>>>| {
        reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
    };
    let (out, err) = (text(out), String::from_utf8_lossy(&text(err)).into_owned());
    if succeeded {
        return serde_json::from_slice(&out).map_err(|error| AskError::Unreadable(error.to_string()));
    }
    Err(refusal(&err))
}

fn collect(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A broken pipe ends the text.
        let _read = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// Whether the child succeeded; `None` if it was killed at the deadline.
fn wait(child: &mut Child) -> Option<bool> {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if started.elapsed() < LIMIT => std::thread::sleep(PAUSE),
            Ok(None) | Err(_) => {
                let _ended = child.kill();
                let _reaped = child.wait();
                return None;
            }
        }
    }
}

/// kubectl repeats lines of its log before its error.
fn refusal(said: &str) -> AskError {
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    if last.contains("(NotFound)") || last.contains("doesn't have a resource type") {
        AskError::Absent(foreign(last))
    } else {
        AskError::Refused(foreign(last))
    }
}
