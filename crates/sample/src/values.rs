//! What a single value looks like: a time in a unit, a number in a string, an amount in cents.

use retail_api::events::Unit;
use retail_connection::text::shortened;
use retail_engine::{Format, Mapping, NumberField, Path, Preview, Record, TextField, TimeField, ValueField};

use crate::json::{Json, Kind};

/// Maximum length of a value in a text, in bytes.
const MAX_SHOWN: usize = 40;

/// Earliest and latest event time that a number is taken for: 2001 and 2100.
const PLAUSIBLE: std::ops::Range<f64> = 978_307_200.0..4_102_444_800.0;

/// A value as written, for a text: one line of at most [`MAX_SHOWN`] bytes.
pub(crate) fn excerpt(value: Json<'_>) -> String {
    match value.kind() {
        Kind::Array => "[…]".to_owned(),
        Kind::Object => "{…}".to_owned(),
        Kind::Null | Kind::Bool | Kind::Number | Kind::Text => shortened(value.raw(), MAX_SHOWN),
    }
}

/// The unit of a number that is a plausible event time.
pub(crate) fn unit_of(number: f64) -> Option<Unit> {
    let units = [(Unit::Seconds, 1.0), (Unit::Milliseconds, 1e3), (Unit::Microseconds, 1e6), (Unit::Nanoseconds, 1e9)];
    units.into_iter().find(|(_, per_second)| PLAUSIBLE.contains(&(number / per_second))).map(|(unit, _)| unit)
}

/// The name of a unit in `spec.events`.
pub(crate) const fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Rfc3339 => "RFC3339",
        Unit::Seconds => "Seconds",
        Unit::Milliseconds => "Milliseconds",
        Unit::Microseconds => "Microseconds",
        Unit::Nanoseconds => "Nanoseconds",
        Unit::RecordTime => "RecordTime",
    }
}

/// How a value can be read as an event time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimeForm {
    /// In this unit; `is_text` if it is a number in a string.
    Valid { unit: Unit, is_text: bool },
    /// A date and a time without an offset.
    WithoutOffset,
}

/// How a value can be read as an event time; `None` otherwise.
pub(crate) fn time_form(value: Json<'_>) -> Option<TimeForm> {
    if let Some(number) = value.number() {
        let unit = unit_of(number)?;
        return Some(TimeForm::Valid { unit, is_text: value.kind() == Kind::Text });
    }
    let text = value.text()?;
    if is_rfc3339(&text) {
        return Some(TimeForm::Valid { unit: Unit::Rfc3339, is_text: false });
    }
    (looks_like_date(&text) && is_rfc3339(&format!("{}Z", text.trim_end()))).then_some(TimeForm::WithoutOffset)
}

/// Whether a text begins as `2026-01-02T03`.
fn looks_like_date(text: &str) -> bool {
    let form = text.bytes().take(13).map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    matches!(form.collect::<Vec<u8>>().as_slice(), b"0000-00-00T00" | b"0000-00-00t00" | b"0000-00-00 00")
}

/// Whether a text is a valid time: the engine decides.
fn is_rfc3339(text: &str) -> bool {
    if !looks_like_date(text) {
        return false;
    }
    let path = |name| Path::parse(name, false).expect("one name is a path");
    let constant =
        |number: &str| NumberField { path: path("none"), if_missing: Some(number.into()), is_text: false, scale: 0 };
    let mapping = Mapping {
        format: Format::Json,
        id: None,
        timestamp: TimeField::Rfc3339(path("t")),
        dimensions: vec![TextField { path: path("none"), if_missing: Some("all".into()) }],
        quantity: constant("1"),
        value: ValueField::Amount(constant("0")),
        refunds: false,
        sums: Vec::new(),
        condition: None,
        explode: None,
    };
    let record = serde_json::json!({ "t": text }).to_string();
    let record = Record { offset: 0, timestamp: None, value: Some(record.as_bytes()), schema: None };
    Preview::new(Some(&mapping)).read(&record).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(raw: &str) -> Option<TimeForm> {
        time_form(Json::parse(raw).unwrap())
    }

    #[test]
    fn unit_of_a_time_is_recognised_by_its_magnitude() {
        let valid = |unit, is_text| Some(TimeForm::Valid { unit, is_text });
        assert_eq!(form("1764349200"), valid(Unit::Seconds, false));
        assert_eq!(form("1764349200.25"), valid(Unit::Seconds, false));
        assert_eq!(form("1764349200000"), valid(Unit::Milliseconds, false));
        assert_eq!(form("\"1764349200000\""), valid(Unit::Milliseconds, true));
        assert_eq!(form("1764349200000000"), valid(Unit::Microseconds, false));
        assert_eq!(form("1764349200000000000"), valid(Unit::Nanoseconds, false));
        assert_eq!(form("\"2026-01-02T03:04:05+02:00\""), valid(Unit::Rfc3339, false));
        assert_eq!(form("\"2026-01-02T03:04:05\""), Some(TimeForm::WithoutOffset));
        assert_eq!(form("\"2026-01-02 03:04\""), None);
        assert_eq!(form("17"), None);
        assert_eq!(form("\"yesterday\""), None);
    }
}
