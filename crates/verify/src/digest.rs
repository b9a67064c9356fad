//! Digests of sums: one number stands for any number of rows.
//!
//! A row is a key (window and group) and some sums. Each key has a weight, a keyed hash, and the digest of rows is the sum of
//! weight × value. It is linear: the digest of the events of a row equals the digest of the row, in any order and any split, so
//! that neither the replay nor the rows must be kept. It is computed modulo two primes: different rows have equal digests with a
//! probability of about 2^-122.

use std::ops::{AddAssign, SubAssign};

use retail_api::MAX_SUMS;
use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

/// The two largest primes below 2^61.
const PRIMES: [u64; 2] = [(1 << 61) - 1, (1 << 61) - 31];

/// A sum modulo the primes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Residue([u64; 2]);

/// The weight of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Weight([u64; 2]);

impl Residue {
    /// A number modulo the primes. Both are used, so that no other number below 2^121 has the same residue.
    pub(crate) fn of(number: u128) -> Self {
        Self(PRIMES.map(|prime| (number % u128::from(prime)) as u64))
    }

    /// Adds weight × value.
    pub(crate) fn add_product(&mut self, weight: Weight, value: i128) {
        for (at, prime) in PRIMES.into_iter().enumerate() {
            let value = value.rem_euclid(i128::from(prime)).unsigned_abs();
            let product = u128::from(weight.0[at]) * value % u128::from(prime);
            self.0[at] = ((u128::from(self.0[at]) + product) % u128::from(prime)) as u64;
        }
    }
}

impl AddAssign for Residue {
    fn add_assign(&mut self, other: Self) {
        for (at, prime) in PRIMES.into_iter().enumerate() {
            self.0[at] = (self.0[at] + other.0[at]) % prime;
        }
    }
}

impl SubAssign for Residue {
    fn sub_assign(&mut self, other: Self) {
        for (at, prime) in PRIMES.into_iter().enumerate() {
            self.0[at] = (self.0[at] + prime - other.0[at]) % prime;
        }
    }
}

/// The key of the weights.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Key(String);

impl Key {
    /// A random key, so that rows with equal digests cannot be prepared.
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).expect("the system has random numbers");
        Self(hex(&bytes))
    }

    /// The weight of a group.
    pub(crate) fn group(&self, dimensions: &[String]) -> Weight {
        self.weight(&[], dimensions)
    }

    /// The weight of a group in a window.
    pub(crate) fn row(&self, window_start: i64, dimensions: &[String]) -> Weight {
        self.weight(&window_start.to_be_bytes(), dimensions)
    }

    fn weight(&self, window: &[u8], dimensions: &[String]) -> Weight {
        let mut context = Context::new(&SHA256);
        context.update(self.0.as_bytes());
        context.update(&[window.len() as u8]);
        context.update(window);
        for dimension in dimensions {
            context.update(&(dimension.len() as u64).to_be_bytes());
            context.update(dimension.as_bytes());
        }
        let hash = context.finish();
        let part =
            |from: usize| u64::from_be_bytes(hash.as_ref()[from..from + 8].try_into().expect("a SHA-256 has 32 bytes"));
        Weight([part(0) % PRIMES[0], part(8) % PRIMES[1]])
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest of the sums of events.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct EventSums {
    events: Residue,
    price_sum: Residue,
    quantity: Residue,
    amount: Residue,
    /// The further sums; zero after the last one.
    #[serde(default, skip_serializing_if = "are_zero")]
    more: [Residue; MAX_SUMS],
    /// The amounts with the weights of groups, in which windows do not count: for totals.
    pub(crate) group_amount: Residue,
}

fn are_zero(residues: &[Residue; MAX_SUMS]) -> bool {
    *residues == [Residue::default(); MAX_SUMS]
}

/// The sums of a row or of one event, in millionths where they are money.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Values {
    pub(crate) events: i128,
    pub(crate) price_sum: i128,
    pub(crate) quantity: i128,
    pub(crate) amount: i128,
    /// The further sums.
    pub(crate) more: Vec<i128>,
}

impl EventSums {
    pub(crate) fn add(&mut self, row: Weight, group: Weight, values: &Values) {
        self.events.add_product(row, values.events);
        self.price_sum.add_product(row, values.price_sum);
        self.quantity.add_product(row, values.quantity);
        self.amount.add_product(row, values.amount);
        self.group_amount.add_product(group, values.amount);
        for (sum, value) in self.more.iter_mut().zip(&values.more) {
            sum.add_product(row, *value);
        }
    }

    /// The names of the columns in which two digests differ, with these names of the further sums.
    pub(crate) fn differing<'a>(&self, other: &Self, sums: &'a [String]) -> Vec<&'a str> {
        let fixed = [
            ("events", self.events == other.events),
            ("price_sum", self.price_sum == other.price_sum),
            ("total_quantity", self.quantity == other.quantity),
            ("total_amount", self.amount == other.amount),
        ];
        let more = sums.iter().zip(self.more.iter().zip(&other.more)).map(|(name, (a, b))| (name.as_str(), a == b));
        fixed.into_iter().chain(more).filter_map(|(name, equal)| (!equal).then_some(name)).collect()
    }
}

impl AddAssign for EventSums {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.price_sum += other.price_sum;
        self.quantity += other.quantity;
        self.amount += other.amount;
        self.group_amount += other.group_amount;
        for (sum, value) in self.more.iter_mut().zip(other.more) {
            *sum += value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(amount: i128) -> Values {
        Values { events: 1, price_sum: amount, quantity: 1, amount, more: vec![amount, -amount] }
    }

    fn group(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn digest_of_events_equals_digest_of_their_sums() {
        let key = Key::random();
        let names = group(&["A", "COD"]);
        let (row, group) = (key.row(300, &names), key.group(&names));
        let (mut events, mut sums) = (EventSums::default(), EventSums::default());
        events.add(row, group, &values(i128::from(u64::MAX) << 40));
        events.add(row, group, &values(-5));
        let amount = (i128::from(u64::MAX) << 40) - 5;
        sums.add(
            row,
            group,
            &Values { events: 2, price_sum: amount, quantity: 2, amount, more: vec![amount, -amount] },
        );
        assert_eq!(events, sums);
    }

    #[test]
    fn digest_changes_with_each_value_and_key() {
        let key = Key::random();
        let digest = |start: i64, names: &[&str], values: &Values| {
            let (mut sums, names) = (EventSums::default(), group(names));
            sums.add(key.row(start, &names), key.group(&names), values);
            sums
        };
        let one = digest(0, &["A", "COD"], &values(7));
        let other_sum = Values { more: vec![7, -8], ..values(7) };
        for other in [
            digest(1, &["A", "COD"], &values(7)),
            digest(0, &["AC", "OD"], &values(7)),
            digest(0, &["A", "C", "OD"], &values(7)),
            digest(0, &["A", "COD"], &values(8)),
            digest(0, &["A", "COD"], &other_sum),
        ] {
            assert_ne!(one, other);
        }
        let sums = group(&["discount", "tax"]);
        let columns = ["price_sum", "total_amount", "discount", "tax"];
        assert_eq!(one.differing(&digest(0, &["A", "COD"], &values(8)), &sums), columns);
        assert_eq!(one.differing(&digest(0, &["A", "COD"], &other_sum), &sums), ["tax"]);
    }

    #[test]
    fn residues_are_added_and_subtracted() {
        let mut sum = Residue::of(u128::MAX);
        sum += Residue::of(5);
        sum -= Residue::of(u128::MAX);
        assert_eq!(sum, Residue::of(5));
        assert_ne!(Residue::of(1), Residue::of(1 + u128::from(PRIMES[0])));
    }
}
