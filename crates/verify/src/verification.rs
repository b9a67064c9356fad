//! Reads, replays, compares, and names the rows that differ.

use std::sync::Arc;

use retail_runtime::args::Settings;
use retail_store::verification::{self, NoProof};
use retail_store::{DatabaseError, Session, TransactionMode, provision};

use crate::buckets::{Layout, StoredRows};
use crate::checkpoint::Checkpoint;
use crate::closes::{self, Closes};
use crate::compare::{self, DifferentBucket};
use crate::differences::Differences;
use crate::digest::Key;
use crate::error::VerifyError;
use crate::expected::Expected;
use crate::letters::{self, StoredLetters};
use crate::mapping;
use crate::proof::{self, Last, Proof};
use crate::replay::Replay;
use crate::report::Report;
use crate::rows;
use crate::shared_ids::SharedIds;
use crate::start::Start;
use crate::state::{self, State};
use crate::topic::Topic;
use crate::{name_letters, name_rows};

/// Deadline of a query: the server reads and sorts everything before it sends the first row.
const READ_TIMEOUT: std::time::Duration = std::time::Duration::from_mins(10);

/// How to verify.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Options {
    /// Reads the whole topic, and uses no proof.
    pub full: bool,
    /// Appends a proof unless something differs. The present contents are taken on trust if neither an earlier proof nor the
    /// topic covers them.
    pub record: bool,
}

/// Everything that one snapshot contains.
struct Snapshot {
    topic: Topic,
    state: State,
    closes: Closes,
    last: Option<Proof>,
    base: Checkpoint,
    layout: Layout,
    rows: StoredRows,
    letters: StoredLetters,
    /// Those that need no record.
    differences: Differences,
}

/// The comparison with the records.
struct Outcome {
    /// Of the ledger.
    ledger: Differences,
    buckets: Vec<DifferentBucket>,
    letters: Vec<i32>,
    /// Those that are found without a second pass.
    others: Differences,
    trusted: Vec<String>,
    windows_dropped: usize,
    ids_in_several_partitions: u64,
}

/// Recomputes everything and compares. Calls `progress` with the number of offsets read and the number of all offsets.
///
/// With `record`, a result without a proof is stored, too: the operator reports it.
pub async fn verify(
    settings: &Settings,
    options: Options,
    progress: impl Fn(i64, i64) + Send + Sync + 'static,
) -> Result<Report, VerifyError> {
    let result = verify_and_prove(settings, options, progress).await;
    if options.record
        && let Some((why, detail)) = no_proof(&result)
    {
        // The result counts more than its row: without it, the operator reports that a proof is overdue.
        let _stored = store(settings, why, &detail).await;
    }
    result
}

/// Why the verification records no proof, as a sentence.
fn no_proof(result: &Result<Report, VerifyError>) -> Option<(NoProof, String)> {
    match result {
        Ok(report) => report.difference.clone().map(|difference| (NoProof::Different, difference)),
        Err(error) => Some((NoProof::Incomplete, error.to_string())),
    }
}

async fn store(settings: &Settings, why: NoProof, detail: &str) -> Result<(), DatabaseError> {
    let session = settings.database.connect("retail verify").await?;
    verification::record_failure(&session, &settings.pipeline.uid, why, detail).await
}

async fn verify_and_prove(
    settings: &Settings,
    options: Options,
    progress: impl Fn(i64, i64) + Send + Sync + 'static,
) -> Result<Report, VerifyError> {
    let database = settings.database.clone().with_max_answer(u64::MAX);
    let session = database.connect("retail verify").await?.with_statement_timeout(READ_TIMEOUT);
    provision::check_rules(&session, &settings.pipeline).await?;
    // The topic is described before the snapshot is taken, so that the snapshot contains all that these offsets show.
    let asked = settings.clone();
    let topic = tokio::task::spawn_blocking(move || Topic::describe(&asked)).await.expect("requests do not panic")?;
    let snapshot = Arc::new(read(settings, options, session, topic).await?);
    let (replayed, shared) = (settings.clone(), Arc::clone(&snapshot));
    let outcome = tokio::task::spawn_blocking(move || compare(&replayed, &shared, &progress));
    let outcome = outcome.await.expect("verification does not panic")?;
    let mut differences = snapshot.differences.clone();
    differences.append(outcome.ledger.clone());
    name(settings, &snapshot, &outcome, &mut differences).await?;
    differences.append(outcome.others.clone());
    let Snapshot { state, base, rows, letters, .. } = &*snapshot;
    let equal = differences.count == 0;
    let recorded = match equal && options.record {
        true => {
            let next = base.next(state, rows, &letters.all(), outcome.windows_dropped);
            Some(proof::append(settings, snapshot.last.as_ref(), next).await?)
        }
        false => None,
    };
    Ok(Report {
        equal,
        difference: differences.first,
        differences: differences.count,
        trusted: outcome.trusted,
        from_proof: (base.number > 0).then_some(base.number),
        proof: recorded.or_else(|| snapshot.last.clone()),
        partitions: state.partitions.len(),
        offsets: state.partitions.iter().map(|p| p.ledger.next_offset - start(&snapshot, p).ledger.next_offset).sum(),
        rows: rows.count,
        windows_dropped: outcome.windows_dropped,
        dead_letters: letters.count_present(),
        dead_letters_deleted: letters.count_deleted(),
        ids_in_several_partitions: outcome.ids_in_several_partitions,
    })
}

async fn read(
    settings: &Settings,
    options: Options,
    mut session: Session,
    topic: Topic,
) -> Result<Snapshot, VerifyError> {
    let transaction = session.transaction(TransactionMode::Snapshot).await?;
    let identity = provision::check_rules(&transaction, &settings.pipeline).await?;
    let state = state::read(&transaction, settings, &identity).await?;
    topic.check_id(&state)?;
    let (last, mut differences) = proof::read(&transaction).await?;
    check_schema(&transaction, settings, &mut differences).await?;
    let base = base(&state, last.as_ref().filter(|_| !options.full))?;
    let missing = state.partitions.iter().try_for_each(|partition| {
        let Start { ledger, from, .. } = Start::after(&base, partition);
        let is_new = partition.ledger.next_offset > ledger.next_offset;
        topic.check_records(partition.partition, from, if is_new { partition.ledger.next_offset } else { from })
    });
    let trusts = options.record && !options.full && missing.is_err();
    if !trusts {
        missing?;
    }
    let closes = closes::read(&transaction, &state).await?;
    let old_until = if trusts { state.closed_until.timestamp_micros() } else { base.closed_until };
    let layout = Layout::new(&state, old_until);
    let rows = rows::read(&transaction, &state, layout, &base.key, &closes.decisions).await?;
    let letters = letters::read(&transaction, &state).await?;
    transaction.rollback().await?;
    let base = match trusts {
        true => {
            Checkpoint { trusted: true, number: 0, ..base.next(&state, &rows, &letters.all(), base.windows_dropped) }
        }
        false => base,
    };
    let last = last.map(|last| last.proof);
    Ok(Snapshot { topic, state, closes, last, base, layout, rows, letters, differences })
}

/// The last proof, or the state before the first record.
fn base(state: &State, last: Option<&Last>) -> Result<Checkpoint, VerifyError> {
    last.map_or_else(|| Ok(Checkpoint::empty(state, Key::random())), |last| last.checkpoint(state))
}

/// Rows are computed by views and functions, which must be those of this program.
async fn check_schema(
    session: &Session,
    settings: &Settings,
    differences: &mut Differences,
) -> Result<(), VerifyError> {
    if !provision::is_as_made(session, &settings.pipeline).await? {
        differences.add(|| {
            "schema: views, functions or triggers differ from those of this version: retail apply-schema recreates them".to_owned()
        });
    }
    Ok(())
}

/// The state of a partition from which its records are read.
fn start(snapshot: &Snapshot, partition: &state::Partition) -> Start {
    Start::after(&snapshot.base, partition)
}

fn compare(settings: &Settings, snapshot: &Snapshot, progress: &dyn Fn(i64, i64)) -> Result<Outcome, VerifyError> {
    let Snapshot { topic, state, closes, base, layout, rows, .. } = snapshot;
    topic.check_last_records(settings, state)?;
    let judge = mapping::judge(&settings.pipeline, state.window, state.delay);
    let (mut expected, mut shared) = (Expected::new(state, base, *layout, closes), SharedIds::default());
    let partitions = state.partitions.iter().map(|partition| (partition, start(snapshot, partition))).collect();
    let judge = Replay { settings, judge, partitions }.run(progress, &mut |judged| {
        expected.take(judged);
        if let Some(id) = &judged.judgement.id {
            shared.add(judged.partition, id);
        }
    })?;
    let mut ledger = compare::ledger(state, &judge);
    ledger.append(topic.check_deleted(state));
    for partition in topic.unknown_partitions(state) {
        ledger.add(|| {
            format!("partition_progress: no row for partition {partition}, which has records: no worker has read them")
        });
    }
    if state.retained_from > state.closed_until {
        ledger.add(|| "pipeline: retained_from is after closed_until, and only closed windows are dropped".to_owned());
    }
    let mut others = rows.differences.clone();
    others.append(compare::totals(state, base, rows, &expected));
    others.append(expected.differences.clone());
    others.append(closes.differences.clone());
    let retained_from = state.retained_from.timestamp_micros();
    let dropped_since: usize =
        base.closed.iter().filter(|range| range.from < retained_from).map(|range| range.windows).sum();
    Ok(Outcome {
        ledger,
        buckets: compare::rows(state, base, *layout, rows, &expected),
        letters: compare::letters(&snapshot.letters, &expected),
        others,
        trusted: trusted(snapshot, &expected),
        windows_dropped: base.windows_dropped + dropped_since + expected.dropped_windows.len(),
        ids_in_several_partitions: shared.count(),
    })
}

fn trusted(snapshot: &Snapshot, expected: &Expected<'_>) -> Vec<String> {
    let mut trusted = Vec::new();
    if snapshot.base.trusted {
        trusted.push("the contents at the first proof: the topic did not have all processed records then".to_owned());
    }
    let mut partitions: Vec<_> = expected.unchecked_idle.iter().map(ToString::to_string).collect();
    partitions.sort();
    if !partitions.is_empty() {
        let partitions = partitions.join(", ");
        trusted.push(format!(
            "the proofs of idleness of partitions {partitions}: producers set the timestamps of their records (CreateTime)"
        ));
    }
    trusted
}

/// Names the first row and the first dead letter that differ.
async fn name(
    settings: &Settings,
    snapshot: &Snapshot,
    outcome: &Outcome,
    differences: &mut Differences,
) -> Result<(), VerifyError> {
    let has_everything = snapshot.topic.has_everything(&snapshot.state);
    for (at, bucket) in outcome.buckets.iter().enumerate() {
        let mut named = Differences::default();
        if at == 0 && has_everything {
            named = name_rows::name(settings, bucket.from, bucket.until).await?;
        }
        // The row may have been corrected since, or a checkpoint knows more columns than the records.
        if named.count == 0 {
            named.add(|| bucket.sentence.clone());
        }
        differences.append(named);
    }
    for partition in &outcome.letters {
        let named = name_letters(settings, snapshot, *partition, has_everything).await?;
        differences.append(named);
    }
    Ok(())
}

async fn name_letters(
    settings: &Settings,
    snapshot: &Snapshot,
    partition: i32,
    has_everything: bool,
) -> Result<Differences, VerifyError> {
    let known = snapshot.state.partitions.iter().find(|known| known.partition == partition);
    let deleted = snapshot.letters.deleted.get(&partition).map_or(0, |sum| sum.letters);
    let mut named = Differences::default();
    if let Some(known) = known {
        let from = match has_everything {
            true => Start::beginning(known),
            false => start(snapshot, known),
        };
        named = name_letters::name(settings, partition, from, has_everything.then_some(deleted)).await?;
    }
    if named.count == 0 || !has_everything {
        let (is, base) = (snapshot.letters.all(), snapshot.base.letters(partition));
        let letters = is.get(&partition).map_or(0, |sum| sum.letters);
        named.add(|| {
            format!(
                "dead_letter, partition {partition}: {letters} dead letters, {deleted} of them deleted as dead_letter_log says, \
                 are not those of the records and of proof {}, which has {}",
                snapshot.base.number, base.letters
            )
        });
    }
    Ok(named)
}
