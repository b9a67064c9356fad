//! Checks each row against its predecessor in the same group.

use retail_oracle::average;
use retail_store::Row;

use crate::buckets::{Layout, StoredRows};
use crate::closes::Decisions;
use crate::differences::Differences;
use crate::digest::{Key, Values, Weight};
use crate::state::State;
use crate::units::{decimal, millionths, shown, time};

/// The clock of a server may run backwards by as much between a decision to close and the closing.
const CLOCK_TOLERANCE: i64 = 60_000_000;

pub(crate) struct Cursor<'a> {
    state: &'a State,
    layout: Layout,
    key: &'a Key,
    decisions: &'a Decisions,
    group: Option<Group>,
    stored: StoredRows,
}

/// The group of the last row.
struct Group {
    dimensions: Vec<String>,
    weight: Weight,
    last_window: Option<i64>,
    /// `None` if it is unknown: before the first retained row, or after a row with an invalid amount.
    running_total: Option<i128>,
    /// The running total of the last final row.
    final_total: Option<i128>,
}

impl Group {
    fn name(&self) -> String {
        self.dimensions.join(", ")
    }
}

/// A row without its group. Values that no event can cause are `None`.
struct Stored {
    window_start: i64,
    is_final: bool,
    events: i64,
    quantity: i64,
    price_sum: Option<i128>,
    amount: Option<i128>,
    more: Vec<Option<i128>>,
    running_total: Option<i128>,
    avg_price: Option<String>,
    closed_at: Option<i64>,
}

impl Stored {
    fn new(row: &Row, window_start: i64) -> Self {
        let amount = |column: &str| row.get::<_, Option<&str>>(column).and_then(millionths);
        let closed_at: Option<chrono::DateTime<chrono::Utc>> = row.get("closed_at");
        Self {
            window_start,
            is_final: row.get("final"),
            events: row.get("events"),
            quantity: row.get("quantity"),
            price_sum: amount("price_sum"),
            amount: amount("amount"),
            more: row.get::<_, Vec<Option<&str>>>("more").into_iter().map(|sum| sum.and_then(millionths)).collect(),
            running_total: amount("running_total"),
            avg_price: row.get("avg_price"),
            closed_at: closed_at.map(|time| time.timestamp_micros()),
        }
    }

    fn values(&self) -> Option<Values> {
        Some(Values {
            events: (self.events > 0).then_some(i128::from(self.events))?,
            price_sum: self.price_sum?,
            quantity: i128::from(self.quantity),
            amount: self.amount?,
            more: self.more.iter().copied().collect::<Option<Vec<i128>>>()?,
        })
    }
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(state: &'a State, layout: Layout, key: &'a Key, decisions: &'a Decisions) -> Self {
        Self { state, layout, key, decisions, group: None, stored: StoredRows::default() }
    }

    /// Takes the next row. Returns the start of its window if it is final.
    pub(crate) fn take(&mut self, row: &Row) -> Option<i64> {
        let dimensions: Vec<Option<String>> = row.get("dimensions");
        let Some(dimensions) = dimensions.into_iter().collect::<Option<Vec<String>>>() else {
            self.stored
                .differences
                .add(|| "delta_log: a row belongs to a group that is not in table groups".to_owned());
            return None;
        };
        self.enter(dimensions);
        let window_start: Option<chrono::DateTime<chrono::Utc>> = row.get("window_start");
        let Some(window_start) = window_start else {
            self.take_total(millionths(row.get("amount")));
            return None;
        };
        let stored = Stored::new(row, window_start.timestamp_micros());
        self.take_row(&stored);
        stored.is_final.then_some(stored.window_start)
    }

    pub(crate) fn finish(self) -> StoredRows {
        self.stored
    }

    fn enter(&mut self, dimensions: Vec<String>) {
        if self.group.as_ref().is_some_and(|group| group.dimensions == dimensions) {
            return;
        }
        let all_rows = self.state.retained_from.timestamp_micros() <= 0;
        self.group = Some(Group {
            weight: self.key.group(&dimensions),
            dimensions,
            last_window: None,
            running_total: all_rows.then_some(0),
            final_total: all_rows.then_some(0),
        });
    }

    fn take_row(&mut self, row: &Stored) {
        let Self { state, layout, key, decisions, group, stored } = self;
        let Some(group) = group else { return };
        let differences = &mut stored.differences;
        let place = Place { window_start: row.window_start, group };
        if group.last_window == Some(row.window_start) {
            differences.add(|| format!("{}: the row exists twice, final and open", place.name()));
        }
        check_average(row, &place, differences);
        check_closing(state, decisions, row, &place, differences);
        let expected = group.running_total.zip(row.amount).map(|(before, amount)| before + amount);
        if let Some(expected) = expected
            && row.running_total != Some(expected)
        {
            let is = row.running_total.map_or_else(|| "invalid".to_owned(), |is| decimal(is).to_plain_string());
            let expected = decimal(expected).to_plain_string();
            differences.add(|| format!("{}: running_total is {is}, expected {expected}", place.name()));
        }
        let weight = key.row(row.window_start, &group.dimensions);
        let closed_until = state.closed_until.timestamp_micros();
        let bucket = stored.buckets.entry(layout.bucket(row.window_start)).or_default();
        stored.count += 1;
        bucket.rows += 1;
        match row.values() {
            Some(values) => bucket.sums.add(weight, group.weight, &values),
            None => bucket.is_impossible = true,
        }
        bucket.running_total.add_product(weight, row.running_total.unwrap_or(-1));
        bucket.closed_at.add_product(weight, row.closed_at.unwrap_or(-1).into());
        if row.is_final {
            let amount = row.amount.unwrap_or_default();
            if !layout.bucket(row.window_start).is_old {
                stored.final_since.add_product(group.weight, amount);
            }
            if row.window_start >= closed_until {
                stored.final_open.add_product(group.weight, amount);
            }
            group.final_total = row.running_total;
        }
        group.last_window = Some(row.window_start);
        group.running_total = row.running_total;
    }

    /// The total of a group is the running total of its last final row.
    fn take_total(&mut self, total: Option<i128>) {
        let Some(group) = &self.group else { return };
        let Some(total) = total else { return };
        self.stored.totals.add_product(group.weight, total);
        if let Some(expected) = group.final_total
            && expected != total
        {
            let (is, expected) = (decimal(total).to_plain_string(), decimal(expected).to_plain_string());
            self.stored.differences.add(|| {
                format!("totals, {}: total_amount is {is}, expected {expected}, the running total of its last closed window", group.name())
            });
        }
    }
}

struct Place<'a> {
    window_start: i64,
    group: &'a Group,
}

impl Place<'_> {
    fn name(&self) -> String {
        format!("retail, window {}, {}", shown(self.window_start), self.group.name())
    }
}

fn check_average(row: &Stored, place: &Place<'_>, differences: &mut Differences) {
    let (Some(values), Some(avg_price)) = (row.values(), &row.avg_price) else { return };
    let expected = average(&decimal(values.price_sum), row.events);
    if avg_price.parse().ok().as_ref() != Some(&expected) {
        differences.add(|| format!("{}: avg_price is {avg_price}, expected {expected}", place.name()));
    }
}

/// Whether the row is final as its window is, and was closed after the decision to close it.
fn check_closing(state: &State, decisions: &Decisions, row: &Stored, place: &Place<'_>, differences: &mut Differences) {
    let window_end = time(row.window_start) + state.window;
    if row.is_final && row.window_start < state.retained_from.timestamp_micros() {
        differences.add(|| format!("{}: unexpected row", place.name()));
    }
    // While a window is being closed, some of its rows are final.
    let is_closing = state.closed_until < window_end && window_end <= state.closing_until;
    let should_be_final = window_end <= state.closed_until;
    if !is_closing && row.is_final != should_be_final {
        differences.add(|| format!("{}: final is {}, expected {should_be_final}", place.name(), row.is_final));
        return;
    }
    let Some(closed_at) = row.closed_at else { return };
    let Some(decided_at) = decisions.decided_at(window_end.timestamp_micros()) else {
        differences.add(|| format!("{}: no decision to close its window is in table closes", place.name()));
        return;
    };
    let latest = state.now.timestamp_micros().max(decisions.last_at());
    if closed_at < decided_at - CLOCK_TOLERANCE || closed_at > latest + CLOCK_TOLERANCE {
        differences.add(|| {
            let (is, from, to) = (shown(closed_at), shown(decided_at), shown(latest));
            format!(
                "{}: closed_at is {is}, expected a time from {from}, when closing was decided, to {to}",
                place.name()
            )
        });
    }
}
