//! `spec.rollups`: views that sum up the rows over longer times than a window.

use std::fmt;
use std::time::Duration;

use crate::{duration, resource};

/// A view that sums up the rows of the pipeline over longer times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rollup {
    /// Name of the view.
    pub name: String,
    /// The times that its rows sum up.
    pub over: Over,
    /// The time zone of days, weeks and months, as Postgres names it; `None` for UTC.
    pub time_zone: Option<String>,
}

/// The time that a row sums up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// A part of a day, counted from its beginning: whole windows, and a divisor of 24 hours.
    Part(Duration),
    /// A calendar day, which can have 23 or 25 hours.
    Day,
    /// A week from Monday to Sunday.
    Week,
    /// A calendar month.
    Month,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part(part) => f.write_str(&duration::write(*part)),
            Self::Day => f.write_str("1d"),
            Self::Week => f.write_str("1w"),
            Self::Month => f.write_str("1mo"),
        }
    }
}

impl Rollup {
    /// From a valid resource.
    pub(crate) fn from_valid(rollup: resource::Rollup) -> Self {
        let resource::Rollup { name, over, time_zone } = rollup;
        let over = match &*over {
            "1d" => Over::Day,
            "1w" => Over::Week,
            "1mo" => Over::Month,
            part => Over::Part(duration::parse(part)),
        };
        Self { name, over, time_zone }
    }
}
