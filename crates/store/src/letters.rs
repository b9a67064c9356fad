//! The dead letters of a batch, as one array per column.

use retail_api::Layout;
use retail_engine::{DeadLetter, Purchase};
use tokio_postgres::types::Type;

use crate::money::SqlMoney;
use crate::session::Parameter;
use crate::time::SqlTime;

/// The columns of dead letters.
pub(super) struct Letters<'a> {
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    reasons: Vec<&'a str>,
    details: Vec<Option<&'a str>>,
    event_times: Vec<Option<SqlTime>>,
    record_times: Vec<Option<SqlTime>>,
    /// One column for each dimension.
    dimensions: Vec<Vec<Option<&'a str>>>,
    quantities: Vec<Option<i64>>,
    amounts: Vec<Option<SqlMoney>>,
    /// One column for each further sum.
    more: Vec<Vec<Option<SqlMoney>>>,
    /// In microseconds.
    missed_by: Vec<Option<i64>>,
    payloads: Vec<Option<&'a [u8]>>,
}

impl<'a> Letters<'a> {
    pub(super) fn new(letters: &'a [DeadLetter], layout: &Layout) -> Self {
        fn column<'a, T>(letters: &'a [DeadLetter], value: impl Fn(&'a DeadLetter) -> T) -> Vec<T> {
            letters.iter().map(value).collect()
        }
        fn of_purchase<'a, T>(letters: &'a [DeadLetter], value: impl Fn(&'a Purchase) -> T) -> Vec<Option<T>> {
            letters.iter().map(|letter| letter.purchase.as_ref().map(&value)).collect()
        }
        Self {
            partitions: column(letters, |letter| letter.partition),
            offsets: column(letters, |letter| letter.offset),
            reasons: column(letters, |letter| letter.reason),
            details: column(letters, |letter| letter.detail.as_deref()),
            event_times: column(letters, |letter| letter.event_time.map(SqlTime)),
            record_times: column(letters, |letter| letter.record_time.map(SqlTime)),
            dimensions: (0..layout.dimensions().len())
                .map(|at| of_purchase(letters, |purchase| &*purchase.dimensions[at]))
                .collect(),
            quantities: of_purchase(letters, |purchase| purchase.quantity),
            amounts: of_purchase(letters, |purchase| SqlMoney(purchase.amount)),
            more: (0..layout.sums().len())
                .map(|at| of_purchase(letters, |purchase| SqlMoney(purchase.more[at])))
                .collect(),
            missed_by: column(letters, |letter| letter.missed_by.map(retail_engine::Span::as_micros)),
            payloads: column(letters, |letter| letter.payload.as_deref()),
        }
    }

    /// The columns in the order of the parameters of `commit_batch`.
    pub(super) fn parameters(&self) -> Vec<Parameter<'_>> {
        let mut parameters: Vec<Parameter<'_>> = vec![
            (&self.partitions, Type::INT4_ARRAY),
            (&self.offsets, Type::INT8_ARRAY),
            (&self.reasons, Type::TEXT_ARRAY),
            (&self.details, Type::TEXT_ARRAY),
            (&self.event_times, Type::TIMESTAMPTZ_ARRAY),
            (&self.record_times, Type::TIMESTAMPTZ_ARRAY),
        ];
        parameters.extend(self.dimensions.iter().map(|column| (column as _, Type::TEXT_ARRAY)));
        parameters.extend([(&self.quantities as _, Type::INT8_ARRAY), (&self.amounts as _, Type::NUMERIC_ARRAY)]);
        parameters.extend(self.more.iter().map(|column| (column as _, Type::NUMERIC_ARRAY)));
        parameters.extend([(&self.missed_by as _, Type::INT8_ARRAY), (&self.payloads as _, Type::BYTEA_ARRAY)]);
        parameters
    }
}
