//! Encodes money, a number of millionths, as Postgres's binary `numeric`, whose digits have base 10,000.

use retail_engine::Money;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, accepts, to_sql_checked};

/// Base of the digits.
const BASE: u128 = 10_000;

/// Digits of the fraction: two digits have eight decimals, and millionths need six.
const FRACTION_DIGITS: usize = 2;

/// Digits of the largest whole part, which has 33 decimals.
const WHOLE_DIGITS: usize = 9;

/// Number of decimals that Postgres displays.
const SCALE: u16 = 6;

const NEGATIVE: u16 = 0x4000;

/// A `numeric` with six decimals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SqlMoney(pub(super) Money);

impl ToSql for SqlMoney {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let millionths = self.0.as_millionths();
        let magnitude = millionths.unsigned_abs();
        let fraction = magnitude % 1_000_000 * 100;
        let mut digits = [0; WHOLE_DIGITS + FRACTION_DIGITS];
        digits[WHOLE_DIGITS] = (fraction / BASE) as u16;
        digits[WHOLE_DIGITS + 1] = (fraction % BASE) as u16;
        let mut first = WHOLE_DIGITS;
        let mut whole = magnitude / 1_000_000;
        while whole > 0 {
            first -= 1;
            digits[first] = (whole % BASE) as u16;
            whole /= BASE;
        }
        let digits = &digits[first..];
        // The exponent of BASE for the first digit.
        let weight = WHOLE_DIGITS as i16 - first as i16 - 1;
        let sign = if millionths < 0 { NEGATIVE } else { 0 };
        for field in [digits.len() as u16, weight as u16, sign, SCALE].iter().chain(digits) {
            out.extend_from_slice(&field.to_be_bytes());
        }
        Ok(IsNull::No)
    }

    accepts!(NUMERIC);
    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use bigdecimal::BigDecimal;
    use proptest::prelude::*;

    use super::*;

    /// Decodes the bytes as Postgres documents them.
    fn meaning(bytes: &[u8]) -> BigDecimal {
        let fields: Vec<u16> = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        let (count, weight, sign, scale) = (fields[0], fields[1] as i16, fields[2], fields[3]);
        assert_eq!((usize::from(count), scale), (fields.len() - 4, 6));
        let mut sum = BigDecimal::from(0);
        for (at, digit) in fields[4..].iter().enumerate() {
            assert!(*digit < 10_000);
            let power = 4 * (i64::from(weight) - at as i64);
            sum += BigDecimal::new((*digit).into(), -power);
        }
        if sign == NEGATIVE { -sum } else { sum }
    }

    fn assert_exact(millionths: i128) {
        let money = Money::from_millionths(millionths);
        let mut bytes = BytesMut::new();
        SqlMoney(money).to_sql(&Type::NUMERIC, &mut bytes).unwrap();
        assert_eq!(meaning(&bytes), money.to_string().parse::<BigDecimal>().unwrap());
    }

    #[test]
    fn extreme_amounts_are_exact() {
        for millionths in [0, 1, -1, 99, 100, 9_999, 999_999, 1_000_000, 9_999_999_999, 10_000_000_000] {
            assert_exact(millionths);
        }
        assert_exact(i128::MAX);
        assert_exact(i128::MIN);
    }

    proptest! {
        #[test]
        fn every_amount_is_exact(amount: i128, digits in 0..38_u32) {
            assert_exact(amount / 10_i128.pow(digits));
        }
    }
}
