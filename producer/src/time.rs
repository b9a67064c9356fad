//! Writes RFC 3339 without allocation: the date is cached, the time is written digit by digit.

use retail_engine::Timestamp;

use crate::text::digits;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Writes instants of the years 1970 to 9999, with the last date cached.
#[derive(Default, Debug)]
pub(crate) struct TimestampWriter {
    day: Option<i64>,
    date: String,
}

impl TimestampWriter {
    /// Appends `2025-01-31T23:59:59.123456+00:00`.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, time: Timestamp) {
        let (day, micros) = (time.as_micros().div_euclid(MICROS_PER_DAY), time.as_micros().rem_euclid(MICROS_PER_DAY));
        if self.day != Some(day) {
            self.day = Some(day);
            self.date = Timestamp::from_micros(day * MICROS_PER_DAY).to_string()[..10].to_owned();
        }
        out.extend_from_slice(self.date.as_bytes());
        let seconds = micros / 1_000_000;
        for (before, number) in [(b'T', seconds / 3600), (b':', seconds / 60 % 60), (b':', seconds % 60)] {
            out.push(before);
            digits(out, number.unsigned_abs(), 2);
        }
        out.push(b'.');
        digits(out, (micros % 1_000_000).unsigned_abs(), 6);
        out.extend_from_slice(b"+00:00");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_instants_match_chrono() {
        let mut writer = TimestampWriter::default();
        for micros in [0, 1, 86_399_999_999, 86_400_000_000, 1_735_689_600_123_456, 253_402_300_799_999_999] {
            let mut out = Vec::new();
            writer.write(&mut out, Timestamp::from_micros(micros));
            let expected = chrono::DateTime::from_timestamp_micros(micros).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected.to_rfc3339_opts(chrono::SecondsFormat::Micros, false));
        }
    }
}
