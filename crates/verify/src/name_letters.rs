//! Names the dead letters of a partition that differ: reads them again next to the records, both in the order of offsets.

use std::fmt::Display;

use bigdecimal::BigDecimal;
use chrono::{DateTime, Duration, Utc};
use retail_api::Layout;
use retail_oracle::OracleEvent;
use retail_runtime::args::Settings;
use retail_store::{Row, TransactionMode, Type, provision, render};
use ring::digest::{SHA256, digest};
use tokio::sync::mpsc::{Receiver, channel};

use crate::differences::Differences;
use crate::digest::hex;
use crate::error::VerifyError;
use crate::letters::MAX_PAYLOAD;
use crate::mapping;
use crate::replay::{Judged, Replay};
use crate::start::Start;
use crate::state::{self, State};
use crate::units::time;

/// Number of dead letters that are read in advance.
const QUEUE: usize = 1024;

/// A row of `dead_letter`, with the hash of its payload.
struct Stored {
    offset: i64,
    reason: String,
    event_time: Option<DateTime<Utc>>,
    record_time: Option<DateTime<Utc>>,
    dimensions: Vec<Option<String>>,
    quantity: Option<i64>,
    amount: Option<BigDecimal>,
    more: Vec<Option<BigDecimal>>,
    missed_by: Option<Duration>,
    payload: Option<String>,
}

impl Stored {
    fn new(row: &Row) -> Self {
        Self {
            offset: row.get("offset"),
            reason: row.get("reason"),
            event_time: row.get("event_time"),
            record_time: row.get("record_time"),
            dimensions: row.get("dimensions"),
            quantity: row.get("quantity"),
            amount: row.get::<_, Option<&str>>("amount").and_then(|amount| amount.parse().ok()),
            more: row
                .get::<_, Vec<Option<&str>>>("more")
                .into_iter()
                .map(|sum| sum.and_then(|sum| sum.parse().ok()))
                .collect(),
            missed_by: row.get::<_, Option<i64>>("missed_by").map(Duration::microseconds),
            payload: row.get("payload"),
        }
    }
}

/// Compares the dead letters of a partition, from the offset of `start` on. `deleted` is the number of logged
/// deletions; `None` if some of them are of earlier offsets.
pub(crate) async fn name(
    settings: &Settings,
    partition: i32,
    start: Start,
    deleted: Option<i64>,
) -> Result<Differences, VerifyError> {
    let select = "
        SELECT \"offset\", reason, nullif(nullif(event_time, 'infinity'), '-infinity') AS event_time,
               nullif(nullif(record_time, 'infinity'), '-infinity') AS record_time, ARRAY[{dimensions: d#}] AS dimensions, quantity,
               amount::text, ARRAY[{sums: sum#::text}]::text[] AS more,
               (extract(epoch FROM missed_by) * 1000000)::bigint AS missed_by, encode(sha256(payload), 'hex') AS payload
        FROM {schema}.dead_letter WHERE partition = $1 AND \"offset\" >= $2 ORDER BY \"offset\"";
    let mut session = settings.database.clone().with_max_answer(u64::MAX).connect("retail verify").await?;
    let transaction = session.transaction(TransactionMode::Snapshot).await?;
    let identity = provision::check_rules(&transaction, &settings.pipeline).await?;
    let state = state::read(&transaction, settings, &identity).await?;
    let mut rows = transaction
        .stream(&render(select, &state.columns), &[(&partition, Type::INT4), (&start.ledger.next_offset, Type::INT8)])
        .await?;
    let (sender, receiver) = channel(QUEUE);
    let settings = settings.clone();
    let compared = tokio::task::spawn_blocking(move || compare(&settings, &state, partition, start, deleted, receiver));
    while let Some(row) = rows.next().await? {
        // The receiver is dropped after an error, which `compared` returns.
        if sender.send(Stored::new(&row)).await.is_err() {
            break;
        }
    }
    drop(sender);
    compared.await.expect("verification does not panic")
}

fn compare(
    settings: &Settings,
    state: &State,
    partition: i32,
    start: Start,
    deleted: Option<i64>,
    letters: Receiver<Stored>,
) -> Result<Differences, VerifyError> {
    let judge = mapping::judge(&settings.pipeline, state.window, state.delay);
    let known = state.partitions.iter().find(|known| known.partition == partition);
    let partitions = known.map(|known| (known, start)).into_iter().collect();
    let mut merge = Merge::new(partition, state.columns.clone(), letters);
    Replay { settings, judge, partitions }.run(&|_, _| {}, &mut |judged| merge.take(judged))?;
    Ok(merge.finish(deleted))
}

/// Merges stored and expected dead letters.
struct Merge {
    partition: i32,
    columns: Layout,
    letters: Receiver<Stored>,
    next: Option<Stored>,
    missing: i64,
    first_missing: i64,
    differences: Differences,
}

impl Merge {
    fn new(partition: i32, columns: Layout, mut letters: Receiver<Stored>) -> Self {
        let next = letters.blocking_recv();
        Self { partition, columns, letters, next, missing: 0, first_missing: 0, differences: Differences::default() }
    }

    fn place(&self, offset: i64) -> String {
        format!("dead_letter, partition {}, offset {offset}", self.partition)
    }

    fn take(&mut self, judged: &Judged<'_>) {
        if !judged.judgement.is_dead() || judged.judgement.fate == "late" && !judged.rule.keeps_late {
            return;
        }
        let offset = judged.record.offset;
        self.skip_to(offset);
        match self.next.take_if(|next| next.offset == offset) {
            Some(stored) => {
                self.next = self.letters.blocking_recv();
                let place = self.place(offset);
                compare_letter(&place, &stored, judged, &self.columns, &mut self.differences);
            }
            None => {
                if self.missing == 0 {
                    self.first_missing = offset;
                }
                self.missing += 1;
            }
        }
    }

    /// Rows before `offset` have no record that is a dead letter.
    fn skip_to(&mut self, offset: i64) {
        while let Some(stored) = self.next.take_if(|next| next.offset < offset) {
            let place = self.place(stored.offset);
            self.differences.add(|| format!("{place}: unexpected dead letter"));
            self.next = self.letters.blocking_recv();
        }
    }

    fn finish(mut self, deleted: Option<i64>) -> Differences {
        self.skip_to(i64::MAX);
        let (partition, missing) = (self.partition, self.missing);
        if let Some(deleted) = deleted
            && missing != deleted
        {
            let first = self.place(self.first_missing);
            self.differences.add(|| match (missing, deleted) {
                (0, _) => format!(
                    "dead_letter_log, partition {partition}: {deleted} deletions, but no dead letter is missing"
                ),
                (_, 0) => format!("{first}: missing dead letter, and no deletion is logged"),
                _ => format!("{first}: missing dead letter, one of {missing}, but {deleted} deletions are logged"),
            });
        }
        self.differences
    }
}

fn compare_letter(place: &str, is: &Stored, judged: &Judged<'_>, columns: &Layout, differences: &mut Differences) {
    fn text(value: Option<&impl Display>) -> String {
        value.map_or_else(|| "null".to_owned(), ToString::to_string)
    }
    let (judgement, record) = (judged.judgement, judged.record);
    let event = judgement.event.as_ref();
    let purchase = event.and_then(OracleEvent::purchase);
    let record_time = record.timestamp_millis.map(|millis| time(millis.saturating_mul(1000)));
    let payload = record.value.map(|value| hex(digest(&SHA256, &value[..value.len().min(MAX_PAYLOAD)]).as_ref()));
    differences.check(place, "reason", &is.reason, &judgement.fate.to_owned());
    for (what, is, should_be) in [
        ("event_time", text(is.event_time.as_ref()), text(event.map(|event| &event.time))),
        ("record_time", text(is.record_time.as_ref()), text(record_time.as_ref())),
        ("quantity", text(is.quantity.as_ref()), text(purchase.map(|purchase| &purchase.quantity))),
        ("missed_by", text(is.missed_by.as_ref()), text(judgement.missed_by.as_ref())),
        ("SHA-256 of the payload", text(is.payload.as_ref()), text(payload.as_ref())),
    ] {
        differences.check(place, what, &is, &should_be);
    }
    for (at, name) in columns.dimensions().iter().enumerate() {
        let should_be = text(purchase.and_then(|purchase| purchase.dimensions.get(at)));
        differences.check(place, name, &text(is.dimensions.get(at).and_then(Option::as_ref)), &should_be);
    }
    let amount = (&is.amount, purchase.map(|purchase| &purchase.amount));
    let more = columns
        .sums()
        .iter()
        .enumerate()
        .map(|(at, name)| (name.as_str(), (&is.more[at], purchase.and_then(|purchase| purchase.more.get(at)))));
    for (name, (is, should_be)) in [("amount", amount)].into_iter().chain(more) {
        // Numbers with different scales are equal.
        if is.as_ref() != should_be {
            differences.add(|| format!("{place}: {name} is {}, expected {}", text(is.as_ref()), text(should_be)));
        }
    }
}
