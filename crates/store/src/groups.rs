//! The ids of groups, as this session has learned them from the store.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use retail_engine::Row;

use crate::time::SqlTime;

/// Number of known groups from which all are forgotten, and learned again as they occur: about 30 MB.
const MAX_KNOWN: usize = 200_000;

/// The dimensions of a group.
type Key = Box<[Arc<str>]>;

/// The ids of groups, and the server that assigned them.
///
/// A connection pooler can replace the server behind a session, by one to which the last ids were not replicated: it may give
/// an id to another group. So a commit names the server, by its start time, and the store refuses it if that changed.
#[derive(Default, Debug)]
pub(super) struct Groups {
    ids: HashMap<Key, i32, RandomState>,
    server_started: Option<SqlTime>,
}

impl Groups {
    /// The id of the group of a row.
    ///
    /// # Panics
    ///
    /// If the group is not known.
    pub(super) fn id(&self, row: &Row) -> i32 {
        self.ids[&row.dimensions]
    }

    /// The groups of rows that are not known, each once and in order: concurrent sessions insert them in the same order.
    pub(super) fn missing(&self, rows: &[Row]) -> Vec<Key> {
        let missing = rows.iter().filter(|row| !self.ids.contains_key(&row.dimensions));
        let mut missing: Vec<Key> = missing.map(|row| row.dimensions.clone()).collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// Adds groups with their ids, from a server that started at a time. Ids of another server are forgotten.
    pub(super) fn learn(&mut self, keys: Vec<Key>, ids: &[i32], server_started: SqlTime) {
        if self.server_started != Some(server_started) {
            self.forget();
            self.server_started = Some(server_started);
        }
        self.ids.extend(keys.into_iter().zip(ids.iter().copied()));
    }

    /// Forgets all groups.
    pub(super) fn forget(&mut self) {
        self.ids.clear();
        self.server_started = None;
    }

    /// Forgets all groups if they are too many.
    pub(super) fn limit(&mut self) {
        if self.ids.len() > MAX_KNOWN {
            self.forget();
        }
    }

    /// When the server that assigned the ids started; `None` without known groups.
    pub(super) const fn server_started(&self) -> Option<SqlTime> {
        self.server_started
    }
}

#[cfg(test)]
mod tests {
    use retail_engine::{Sums, Timestamp};

    use super::*;

    fn row(category: &str) -> Row {
        let window_start = Timestamp::EPOCH;
        let dimensions = Box::new([category.into(), "COD".into()]);
        Row { window_start, dimensions, sums: Sums::default(), more: Box::default() }
    }

    #[test]
    fn missing_groups_are_named_once_and_in_order() {
        let mut groups = Groups::default();
        let rows = [row("b"), row("a"), row("b"), row("c")];
        let missing = groups.missing(&rows);
        assert_eq!(missing.iter().map(|key| &*key[0]).collect::<Vec<_>>(), ["a", "b", "c"]);
        groups.learn(missing, &[7, 8, 9], SqlTime(Timestamp::EPOCH));
        assert_eq!(groups.missing(&rows), []);
        assert_eq!(rows.map(|row| groups.id(&row)), [8, 7, 8, 9]);
    }

    #[test]
    fn ids_of_another_server_are_forgotten() {
        let mut groups = Groups::default();
        groups.learn(groups.missing(&[row("a")]), &[1], SqlTime(Timestamp::EPOCH));
        let later = SqlTime(Timestamp::from_secs(1));
        groups.learn(groups.missing(&[row("b")]), &[1], later);
        assert_eq!((groups.missing(&[row("a"), row("b")]).len(), groups.server_started()), (1, Some(later)));
    }

    #[test]
    fn number_of_known_groups_is_limited() {
        let mut groups = Groups::default();
        let rows: Vec<Row> = (0..=MAX_KNOWN).map(|number| row(&number.to_string())).collect();
        let (last, others) = rows.split_last().unwrap();
        groups.learn(groups.missing(others), &vec![1; others.len()], SqlTime(Timestamp::EPOCH));
        groups.limit();
        assert_eq!(groups.missing(others), []);
        groups.learn(groups.missing(std::slice::from_ref(last)), &[1], SqlTime(Timestamp::EPOCH));
        groups.limit();
        assert_eq!((groups.missing(&rows).len(), groups.server_started()), (rows.len(), None));
    }
}
