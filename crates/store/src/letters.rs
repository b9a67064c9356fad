//! The dead letters of a batch, as one array per column.

use retail_engine::{DeadLetter, Purchase};

use crate::money::SqlMoney;
use crate::time::SqlTime;

/// The columns of dead letters.
pub(super) struct Letters<'a> {
    pub(super) partitions: Vec<i32>,
    pub(super) offsets: Vec<i64>,
    pub(super) reasons: Vec<&'a str>,
    pub(super) event_times: Vec<Option<SqlTime>>,
    pub(super) record_times: Vec<Option<SqlTime>>,
    pub(super) categories: Vec<Option<&'a str>>,
    pub(super) payment_methods: Vec<Option<&'a str>>,
    pub(super) quantities: Vec<Option<i64>>,
    pub(super) amounts: Vec<Option<SqlMoney>>,
    /// In microseconds.
    pub(super) missed_by: Vec<Option<i64>>,
    pub(super) payloads: Vec<Option<&'a [u8]>>,
}

impl<'a> Letters<'a> {
    pub(super) fn new(letters: &'a [DeadLetter]) -> Self {
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
            event_times: column(letters, |letter| letter.event_time.map(SqlTime)),
            record_times: column(letters, |letter| letter.record_time.map(SqlTime)),
            categories: of_purchase(letters, |purchase| &*purchase.dimensions[0]),
            payment_methods: of_purchase(letters, |purchase| &*purchase.dimensions[1]),
            quantities: of_purchase(letters, |purchase| purchase.quantity),
            amounts: of_purchase(letters, |purchase| SqlMoney(purchase.amount)),
            missed_by: column(letters, |letter| letter.missed_by.map(retail_engine::Span::as_micros)),
            payloads: column(letters, |letter| letter.payload.as_deref()),
        }
    }
}
