//! The differences that were found, of which the first one is shown.

use std::fmt::Display;

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Differences {
    pub(crate) count: usize,
    pub(crate) first: Option<String>,
}

impl Differences {
    pub(crate) fn add(&mut self, difference: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(difference);
    }

    /// Adds a difference if `what` of `place` does not have the expected value.
    pub(crate) fn check<T: PartialEq + Display>(&mut self, place: &str, what: &str, is: &T, should_be: &T) {
        if is != should_be {
            self.add(|| format!("{place}: {what} is {is}, expected {should_be}"));
        }
    }

    /// Adds those that were found later.
    pub(crate) fn append(&mut self, later: Self) {
        self.count += later.count;
        self.first = self.first.take().or(later.first);
    }
}
