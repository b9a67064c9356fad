//! Decides what to do with the registry's answers about one schema id. Without client and clock.
//!
//! A fate is for ever. So the registry must not know the id for some time, without an error in between, before the id counts as
//! unknown: a producer may have registered the schema at another instance of the registry.

use std::time::{Duration, Instant};

use retail_registry::{RegistryError, Verdict};
use retail_runtime::Backoff;
use retail_store::StoredSchema;

/// Pauses between two requests; they double.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One schema id that is asked for.
#[derive(Debug)]
pub(crate) struct SchemaLookup {
    unknown_after: Duration,
    /// The time of the first answer of an uninterrupted series that the id is unknown.
    unknown_since: Option<Instant>,
    backoff: Backoff,
}

/// The next step.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Store this verdict.
    Keep(StoredSchema),
    /// The registry does not know the id so far: ask again after this pause.
    AskAgain(Duration),
    /// The registry did not answer: ask again after this pause.
    Failed(Duration, RegistryError),
}

impl SchemaLookup {
    /// The id counts as unknown once the registry has not known it for this time.
    pub(crate) const fn new(unknown_after: Duration) -> Self {
        Self { unknown_after, unknown_since: None, backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE) }
    }

    /// The pause after another failure than the registry's.
    pub(crate) fn failed(&mut self) -> Duration {
        self.unknown_since = None;
        self.backoff.failed()
    }

    /// The registry has answered at this time.
    pub(crate) fn answered(&mut self, now: Instant, answer: Result<Verdict, RegistryError>) -> Next {
        match answer {
            Ok(Verdict::Found(text)) => Next::Keep(StoredSchema::Found(text)),
            Ok(Verdict::Unusable(problem)) => Next::Keep(StoredSchema::Unusable(problem)),
            Ok(Verdict::Absent) => {
                let since = *self.unknown_since.get_or_insert(now);
                let left = self.unknown_after.saturating_sub(now.saturating_duration_since(since));
                match left {
                    Duration::ZERO => Next::Keep(StoredSchema::Unknown),
                    left => Next::AskAgain(self.backoff.failed().min(left)),
                }
            }
            Err(error) => Next::Failed(self.failed(), error),
        }
    }
}

#[cfg(test)]
mod tests {
    use retail_connection::ErrorKind;
    use retail_engine::{SchemaKind, SchemaText};

    use super::*;

    const AFTER: Duration = Duration::from_secs(60);

    fn error() -> RegistryError {
        RegistryError { kind: ErrorKind::Unreachable, message: "away".to_owned() }
    }

    #[test]
    fn schema_is_kept_at_once() {
        let text = SchemaText { kind: SchemaKind::Avro, text: "x".to_owned(), references: Vec::new() };
        let answered = |verdict| SchemaLookup::new(AFTER).answered(Instant::now(), Ok(verdict));
        assert_eq!(answered(Verdict::Found(text.clone())), Next::Keep(StoredSchema::Found(text)));
        let large = "is large".to_owned();
        assert_eq!(answered(Verdict::Unusable(large.clone())), Next::Keep(StoredSchema::Unusable(large)));
    }

    #[test]
    fn id_is_unknown_after_a_series_without_errors() {
        let (mut lookup, begin) = (SchemaLookup::new(AFTER), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(lookup.answered(at(0), Ok(Verdict::Absent)), Next::AskAgain(FIRST_PAUSE));
        assert_eq!(lookup.answered(at(59), Ok(Verdict::Absent)), Next::AskAgain(2 * FIRST_PAUSE));
        // The registry restarts, perhaps without its contents: the series begins again.
        assert!(matches!(lookup.answered(at(60), Err(error())), Next::Failed(..)));
        assert!(matches!(lookup.answered(at(70), Ok(Verdict::Absent)), Next::AskAgain(_)));
        assert!(
            matches!(lookup.answered(at(129), Ok(Verdict::Absent)), Next::AskAgain(pause) if pause == at(130) - at(129))
        );
        assert_eq!(lookup.answered(at(130), Ok(Verdict::Absent)), Next::Keep(StoredSchema::Unknown));
    }

    #[test]
    fn errors_never_become_a_verdict() {
        let (mut lookup, begin) = (SchemaLookup::new(AFTER), Instant::now());
        let mut pauses = (0..10_000).map(|minute| match lookup.answered(begin + minute * AFTER, Err(error())) {
            Next::Failed(pause, _) => pause,
            next @ (Next::Keep(_) | Next::AskAgain(_)) => panic!("{next:?}"),
        });
        assert_eq!(pauses.next(), Some(FIRST_PAUSE));
        assert_eq!(pauses.last(), Some(LONGEST_PAUSE));
    }
}
