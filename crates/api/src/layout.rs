//! The columns of `retail` that a pipeline names itself: the dimensions of its groups, and further sums.

use std::collections::BTreeSet;

/// Maximum number of dimensions.
pub const MAX_DIMENSIONS: usize = 8;

/// Maximum number of further sums.
pub const MAX_SUMS: usize = 8;

/// Maximum length of a name.
pub const MAX_NAME: usize = 40;

/// The other columns of `retail`, `totals` and `late`.
const OURS: [&str; 14] = [
    "window_start",
    "window_end",
    "avg_price",
    "total_quantity",
    "total_amount",
    "running_total",
    "timestamp",
    "final",
    "events",
    "event_time",
    "record_time",
    "missed_by",
    "stored_at",
    "partition",
];

/// The system columns of Postgres, which it refuses in views too.
const SYSTEM: [&str; 6] = ["xmin", "xmax", "cmin", "cmax", "ctid", "tableoid"];

/// The words that Postgres accepts as a column only in quotes.
const RESERVED: &str = "all analyse analyze and any array as asc asymmetric authorization binary both case cast check \
    collate collation column concurrently constraint create cross current_catalog current_date current_role \
    current_schema current_time current_timestamp current_user default deferrable desc distinct do else end except \
    false fetch for foreign freeze from full grant group having ilike in initially inner intersect into is isnull join \
    lateral leading left like limit localtime localtimestamp natural not notnull null offset on only or order outer \
    overlaps placing primary references returning right select session_user similar some symmetric system_user table \
    tablesample then to trailing true union unique user using variadic verbose when where window with";

/// The names of the dimensions and of the further sums of a pipeline, in the order of the specification. They are valid names
/// of columns of `retail`: lower-case letters, digits and underscores, neither reserved nor used twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    dimensions: Vec<String>,
    sums: Vec<String>,
}

impl Default for Layout {
    /// The layout of a pipeline without `spec.events`.
    fn default() -> Self {
        Self { dimensions: vec!["category".to_owned(), "payment_method".to_owned()], sums: Vec::new() }
    }
}

impl Layout {
    /// A layout with these names, or the reason why there cannot be one.
    pub fn new(dimensions: Vec<String>, sums: Vec<String>) -> Result<Self, String> {
        if !(1..=MAX_DIMENSIONS).contains(&dimensions.len()) {
            return Err(format!("a pipeline has 1 to {MAX_DIMENSIONS} dimensions, and not {}", dimensions.len()));
        }
        if sums.len() > MAX_SUMS {
            return Err(format!("a pipeline has at most {MAX_SUMS} further sums, and not {}", sums.len()));
        }
        let mut names = BTreeSet::new();
        for name in dimensions.iter().chain(&sums) {
            check_name(name)?;
            if !names.insert(name) {
                return Err(format!("the name {name:?} is used twice"));
            }
        }
        Ok(Self { dimensions, sums })
    }

    /// Names of the dimensions: 1 to 8.
    pub fn dimensions(&self) -> &[String] {
        &self.dimensions
    }

    /// Names of the further sums: 0 to 8.
    pub fn sums(&self) -> &[String] {
        &self.sums
    }
}

/// All names that cannot be a column.
pub(crate) fn refused_names() -> impl Iterator<Item = &'static str> {
    OURS.into_iter().chain(SYSTEM).chain(RESERVED.split_whitespace())
}

/// Checks that a name can be a column of `retail`.
fn check_name(name: &str) -> Result<(), String> {
    let starts = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
    let continues = name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    if !starts || !continues || name.len() > MAX_NAME {
        return Err(format!(
            "the name {name:?} is not 1 to {MAX_NAME} lower-case letters, digits and underscores, without a digit at the start"
        ));
    }
    if OURS.contains(&name) {
        return Err(format!("the name {name:?} is another column of retail"));
    }
    if SYSTEM.contains(&name) || RESERVED.split_whitespace().any(|word| word == name) {
        return Err(format!("the name {name:?} is reserved by SQL"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn default_layout_is_valid() {
        let Layout { dimensions, sums } = Layout::default();
        assert_eq!(Layout::new(dimensions, sums), Ok(Layout::default()));
    }

    #[test]
    fn invalid_names_are_refused_with_their_reason() {
        for (dimensions, sums, expected) in [
            (&[][..], &[][..], "1 to 8 dimensions, and not 0"),
            (&["a", "b", "c", "d", "e", "f", "g", "h", "i"], &[], "1 to 8 dimensions, and not 9"),
            (&["a"], &["b", "c", "d", "e", "f", "g", "h", "i", "j"], "at most 8 further sums, and not 9"),
            (&["a", "a"], &[], "the name \"a\" is used twice"),
            (&["a"], &["a"], "the name \"a\" is used twice"),
            (&["window_start"], &[], "\"window_start\" is another column of retail"),
            (&["a"], &["events"], "\"events\" is another column of retail"),
            (&["ctid"], &[], "\"ctid\" is reserved by SQL"),
            (&["user"], &[], "\"user\" is reserved by SQL"),
            (&[""], &[], "the name \"\" is not 1 to 40"),
            (&["1a"], &[], "the name \"1a\" is not"),
            (&["Store"], &[], "the name \"Store\" is not"),
            (&["größe"], &[], "the name \"größe\" is not"),
            (&["a\"; DROP TABLE pipeline; --"], &[], "lower-case letters"),
            (&["a{schema}"], &[], "lower-case letters"),
            (&["aaaaaaaaaabbbbbbbbbbccccccccccddddddddddx"], &[], "is not 1 to 40"),
        ] {
            let problem = Layout::new(names(dimensions), names(sums)).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn words_that_only_look_reserved_are_accepted() {
        let sums = names(&["quantity", "price_sum", "d2", "_x1"]);
        assert!(Layout::new(names(&["name", "type", "value", "store_id"]), sums).is_ok());
    }
}
