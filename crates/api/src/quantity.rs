//! Amounts of CPU and memory, as Kubernetes reads and writes them.

use std::cmp::Ordering;
use std::fmt;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Pattern of a quantity. Without a sign: no amount of a pod is negative.
pub(crate) const PATTERN: &str = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$";

/// Billionths, the smallest fraction that Kubernetes stores.
const NANOS: i128 = 1_000_000_000;

/// An amount such as `500m`, `2Gi` or `1e3`. Its text form is the one that the API server stores: `0.5` is `500m`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quantity {
    nanos: i128,
    form: Form,
}

/// How a quantity is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// With suffixes of powers of 1000.
    Decimal,
    /// With suffixes of powers of 1024.
    Binary,
    /// With an exponent.
    Exponent,
}

/// An amount as text: the API server stores a number as text, too.
pub fn text(amount: &IntOrString) -> String {
    match amount {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    }
}

impl Quantity {
    /// Parses a quantity; `None` for another text, and for an amount too large to compare.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
        let (form, factor, divisor) = match suffix.strip_prefix(['e', 'E']).filter(|exponent| !exponent.is_empty()) {
            Some(exponent) => {
                let exponent: i32 = exponent.strip_prefix('+').unwrap_or(exponent).parse().ok()?;
                let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
                if exponent < 0 {
                    (Form::Exponent, NANOS, power)
                } else {
                    (Form::Exponent, NANOS.checked_mul(power)?, 1)
                }
            }
            None => Self::factor(suffix)?,
        };
        let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(divisor)?;
        let scaled = digits.checked_mul(factor)?;
        // Kubernetes rounds up.
        let nanos = scaled / divisor + i128::from(scaled % divisor != 0);
        Some(Self { nanos, form })
    }

    fn factor(suffix: &str) -> Option<(Form, i128, i128)> {
        if let Some(power) = suffix.strip_suffix('i') {
            let power = ["K", "M", "G", "T", "P", "E"].iter().position(|name| *name == power)? as u32 + 1;
            return Some((Form::Binary, NANOS * 1024_i128.pow(power), 1));
        }
        let factors = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        let power = factors.iter().position(|name| *name == suffix)?;
        Some((Form::Decimal, 1000_i128.pow(power as u32), 1))
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.nanos.partial_cmp(&other.nanos)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut number, mut power) = (self.nanos, 0);
        if self.form == Form::Binary && self.nanos % NANOS == 0 && self.nanos >= 1024 * NANOS {
            number /= NANOS;
            while number % 1024 == 0 && power < 6 {
                (number, power) = (number / 1024, power + 1);
            }
            return write!(f, "{number}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
        }
        if number == 0 {
            return f.write_str("0");
        }
        while number % 1000 == 0 && power < 9 {
            (number, power) = (number / 1000, power + 1);
        }
        match (self.form, power) {
            (Form::Exponent, 3) => write!(f, "{number}"),
            (Form::Exponent, _) => write!(f, "{number}e{}", 3 * (power as i32 - 3)),
            (Form::Decimal | Form::Binary, _) => {
                write!(f, "{number}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][power])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantity_is_written_as_the_api_server_stores_it() {
        // The right column is the answer of a Kubernetes 1.34 to a Deployment with the left one.
        for (written, stored) in [
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1000", "1k"),
            ("1.50", "1500m"),
            (".25", "250m"),
            ("0", "0"),
            ("0Mi", "0"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1536Mi", "1536Mi"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("0.1Gi", "107374182400m"),
            ("1e3", "1e3"),
            ("10000", "10k"),
            ("1E2", "100"),
            ("1e-3", "1e-3"),
            ("128974848", "128974848"),
            ("1G", "1G"),
            ("1000M", "1G"),
        ] {
            assert_eq!(
                Quantity::parse(written).map(|quantity| quantity.to_string()).as_deref(),
                Some(stored),
                "{written}"
            );
        }
    }

    #[test]
    fn quantities_compare_by_value() {
        let parse = |text| Quantity::parse(text).unwrap_or_else(|| panic!("{text}"));
        for (less, more) in [("500m", "1"), ("1G", "1Gi"), ("999Mi", "1Gi"), ("1e3", "1001"), ("1n", "1u")] {
            assert!(parse(less) < parse(more), "{less} {more}");
        }
        assert!(parse("0.5") <= parse("500m") && parse("500m") <= parse("0.5"));
    }

    #[test]
    fn other_texts_are_no_quantities() {
        let pattern = regex::Regex::new(PATTERN).expect("compiles");
        for text in ["", "lots", "1.2.3", "-1", "1 Gi", "1gi", "1Gi ", ".", "1K", "e3", "1e"] {
            assert!(!pattern.is_match(text), "{text}");
            assert!(text == "-1" || text == "1K" || Quantity::parse(text).is_none(), "{text}");
        }
        for text in ["1", "0.5", ".5", "1.", "1Gi", "500m", "1e3", "1E-3"] {
            assert!(pattern.is_match(text) && Quantity::parse(text).is_some(), "{text}");
        }
        assert_eq!(Quantity::parse(&"9".repeat(40)), None);
    }
}
