//! Exact money: a whole number of millionths of the unit of the currency.

use std::fmt;

/// Number of millionths in one unit.
const SCALE: u128 = 1_000_000;

/// An exact amount in millionths. Sums are never rounded; `Display` prints the plain decimal that Postgres reads as NUMERIC.
///
/// The largest amount of one event is below 10^12 × 2^31 units, so that an `i128` can contain more than 10^10 of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(i128);

impl Money {
    /// The zero amount.
    pub const ZERO: Self = Self(0);

    /// The amount of `millionths` / 10^6 units.
    pub const fn from_millionths(millionths: i128) -> Self {
        Self(millionths)
    }

    /// The amount in millionths of a unit.
    pub const fn as_millionths(self) -> i128 {
        self.0
    }
}

impl std::ops::AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl fmt::Display for Money {
    /// A plain decimal with six fraction digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let millionths = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:06}", millionths / SCALE, millionths % SCALE)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_displays_six_decimals() {
        assert_eq!(Money::from_millionths(19_990_000).to_string(), "19.990000");
        assert_eq!(Money::from_millionths(-1).to_string(), "-0.000001");
        assert_eq!(Money::from_millionths(i128::MAX).to_string(), "170141183460469231731687303715884.105727");
    }
}
