//! One thread that reads the last committed records again, for all workers.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use retail_kafka::KafkaError;
use retail_kafka::records::{Finding, Processed, RecordChecker};
use tokio::sync::oneshot;

use crate::state::State;

/// A request, and where its reply goes.
struct Check {
    processed: Vec<Processed>,
    reply: oneshot::Sender<Result<Vec<Finding>, KafkaError>>,
}

/// A handle to the thread, which ends with the last handle.
#[derive(Clone)]
pub(crate) struct RecordChecks {
    checks: Sender<Check>,
}

/// Starts the thread.
pub(crate) fn start(checker: RecordChecker, state: Arc<State>) -> RecordChecks {
    let (checks, requested) = std::sync::mpsc::channel();
    let run = move || run(&checker, &state, &requested);
    std::thread::Builder::new().name("record-checks".to_owned()).spawn(run).expect("the system starts another thread");
    RecordChecks { checks }
}

impl RecordChecks {
    /// Reads the last committed records again.
    pub(crate) async fn check(&self, processed: Vec<Processed>) -> Result<Vec<Finding>, KafkaError> {
        let (reply, replied) = oneshot::channel();
        self.checks.send(Check { processed, reply }).expect("the thread lives as long as its handles");
        replied.await.expect("the thread replies to every request")
    }
}

fn run(checker: &RecordChecker, state: &State, requested: &Receiver<Check>) {
    for Check { processed, reply } in requested {
        let findings = checker.check(&processed);
        match &findings {
            Ok(findings) => findings.iter().for_each(|finding| state.record_checked(result(finding), 1)),
            Err(_) => state.record_checked("unanswered", processed.len() as u64),
        }
        let _receiver_gone = reply.send(findings);
    }
}

/// The label of a finding in the metrics.
const fn result(finding: &Finding) -> &'static str {
    match finding {
        Finding::Same => "same",
        Finding::Deleted => "deleted",
        Finding::Compacted => "compacted",
        Finding::Replaced(_) => "replaced",
    }
}
