//! Random mappings and random records: the engine and the oracle agree.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use retail_engine::{Batch, Engine, Fate, Path, Record, Rules, Span, Start, Timestamp};
use retail_oracle::{Oracle, OracleField, OracleMapping, OracleRecord};

use crate::cases;
use crate::mapped_judge::engines_mapping;

/// 2025-01-01T00:00:00Z.
const BASE: i64 = 1_735_689_600;

/// Places of fields: some are objects on the way to others, and some start at the record.
const PATHS: [&str; 11] =
    ["a", "b", "kind", "b.c", "b.d", "b.d.e", "\"x.y\".z", "$.a", "$.kind", "$.meta.id", "long_names_are_allowed.too"];

const CONDITIONS: [&str; 16] = [
    "!(b.d == 3 && kind == 'nothing')",
    "!(kind == 'nothing' && b.d == 3) && !(b.c == 'x' || a == -7)",
    "kind in ['sale', 'refund']",
    "kind != 'test' && b.c >= 1.5",
    "!(a == 3) || kind.startsWith('s')",
    "has(b.c)",
    "!has(b.d) || b.d == null",
    "paid",
    "paid == true && !(a < 0)",
    "a != null",
    "a in [1, 2.0, 'x', true, null]",
    "b.d.e == 'é\\n' || 100 > a",
    "a < 12345678901234567 && a > -9e99",
    "meta.id.contains('1') || kind.endsWith('e')",
    "kind >= 'm'",
    "b.c == 19.99 || b.c == 2u || -1 == b.c",
];

const UNITS: [&str; 6] = ["RFC3339", "Seconds", "Milliseconds", "Microseconds", "Nanoseconds", "RecordTime"];

/// The oracle's mapping, from which the engine's is made.
fn mapping() -> impl Strategy<Value = OracleMapping> {
    let path = || select(&PATHS[..]).prop_map(str::to_owned);
    let number = || {
        (path(), prop::option::weighted(0.3, select(&["0", "1", "1999"][..])), any::<bool>(), 0..4_u32).prop_map(
            |(path, if_missing, is_text, scale)| OracleField {
                path,
                if_missing: if_missing.map(str::to_owned),
                is_text,
                scale,
            },
        )
    };
    let text = (path(), prop::option::weighted(0.3, select(&["web", "é"][..]))).prop_map(|(path, if_missing)| {
        OracleField { path, if_missing: if_missing.map(str::to_owned), ..OracleField::default() }
    });
    let condition = prop::option::weighted(0.5, select(&CONDITIONS[..]));
    let explode = prop::option::weighted(0.4, select(&["items", "b.items"][..]));
    (
        (path(), select(&UNITS[..]), any::<bool>()),
        prop::collection::vec(text, 1..=8),
        number(),
        number(),
        (any::<bool>(), any::<bool>()),
        prop::collection::vec(number(), 0..3),
        (condition, explode),
    )
        .prop_map(
            |((time, unit, is_text), dimensions, quantity, value, (is_amount, refunds), sums, (condition, explode))| {
                let time = time.trim_start_matches("$.").to_owned();
                OracleMapping {
                    format: "JSON".to_owned(),
                    timestamp: OracleField { path: time, is_text, ..OracleField::default() },
                    unit: unit.to_owned(),
                    dimensions,
                    quantity: OracleField {
                        scale: 0,
                        if_missing: quantity.if_missing.filter(|n| n != "0"),
                        ..quantity
                    },
                    price: (!is_amount).then(|| value.clone()),
                    amount: is_amount.then_some(value),
                    refunds,
                    sums,
                    condition: condition.map(str::to_owned),
                    explode: explode.map(str::to_owned),
                    id: None,
                }
            },
        )
}

/// A JSON value under construction.
#[derive(Clone, Debug)]
enum Json {
    Raw(String),
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
}

impl Json {
    fn text(&self) -> String {
        match self {
            Self::Raw(text) => text.clone(),
            Self::Object(fields) => {
                let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name:?}:{}", value.text())).collect();
                format!("{{{}}}", fields.join(" ,"))
            }
            Self::Array(elements) => format!("[{}]", elements.iter().map(Self::text).collect::<Vec<_>>().join(", ")),
        }
    }

    /// Sets a field, and makes objects on the way to it.
    fn set(&mut self, names: &[Box<str>], value: Json) {
        let Some((first, rest)) = names.split_first() else {
            *self = value;
            return;
        };
        if !matches!(self, Self::Object(_)) {
            *self = Self::Object(Vec::new());
        }
        let Self::Object(fields) = self else { return };
        let at = fields.iter().position(|(name, _)| **name == **first).unwrap_or_else(|| {
            fields.push((first.to_string(), Self::Raw("null".to_owned())));
            fields.len() - 1
        });
        fields[at].1.set(rest, value);
    }

    /// Applies a change to the value with this number, counted through all values.
    fn change(&mut self, at: &mut usize, change: &Change) {
        if *at == 0 {
            if let Change::Set(text) = change {
                *self = Self::Raw((*text).to_owned());
            }
            *at = usize::MAX;
            return;
        }
        *at -= 1;
        match self {
            Self::Raw(_) => {}
            Self::Array(elements) => elements.iter_mut().for_each(|element| element.change(at, change)),
            Self::Object(fields) => {
                let field = *at;
                if field < fields.len() {
                    match change {
                        Change::Remove => drop(fields.remove(field)),
                        Change::Repeat => fields.push(fields[field].clone()),
                        Change::Set(text) => fields[field].1 = Self::Raw((*text).to_owned()),
                    }
                    *at = usize::MAX;
                }
                if *at != usize::MAX {
                    *at -= fields.len();
                    fields.iter_mut().for_each(|(_, value)| value.change(at, change));
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Remove,
    Repeat,
    Set(&'static str),
}

const ODD: [&str; 30] = [
    "null",
    "true",
    "false",
    "\"\"",
    "\"x\"",
    "\"sale\"",
    "\"refund\"",
    "\"\\u0041\\\"\"",
    "\"\\ud800\"",
    "\"é\\n\"",
    "[]",
    "[1]",
    "{}",
    "{\"c\":1}",
    "0",
    "-0",
    "-1",
    "2.5",
    "1e2",
    "-3e-9",
    "123456789012345678901234567890",
    "1e400",
    "-1e-99999999999999999999",
    "\"5\"",
    "\" 5\"",
    "\"-2.5e1\"",
    "\"0x5\"",
    "19.99",
    "0.0000005",
    "[{\"a\":1},{\"a\":2,\"a\":3}]",
];

fn change() -> impl Strategy<Value = (Index, Change)> {
    let change =
        prop_oneof![1 => Just(Change::Remove), 1 => Just(Change::Repeat), 4 => select(&ODD[..]).prop_map(Change::Set)];
    (any::<Index>(), change)
}

/// The ingredients of a record, for any mapping.
#[derive(Clone, Debug)]
struct Ingredients {
    /// Seconds after `BASE`.
    time: i64,
    record_time: Option<i64>,
    texts: Vec<&'static str>,
    numbers: Vec<&'static str>,
    elements: usize,
    changes: Vec<(Index, Change)>,
    mangled: Option<(Index, u8)>,
}

fn ingredients() -> impl Strategy<Value = Ingredients> {
    let texts = select(&["\"sale\"", "\"A\"", "\"B\"", "\"x1\"", "7", "7.0", "true", "\"caf\\u00e9\""][..]);
    let numbers = select(&["1", "2", "3", "2.50", "19.99", "\"4\"", "-2", "-0.0000015", "1999", "1e1"][..]);
    (
        0..4 * 3600_i64,
        prop::option::weighted(0.95, 0..4 * 3600_i64),
        prop::collection::vec(texts, 8),
        prop::collection::vec(numbers, 8),
        prop_oneof![2 => Just(0_usize), 80 => 1..4_usize, 1 => 998..1003_usize],
        prop_oneof![3 => Just(Vec::new()).boxed(), 2 => prop::collection::vec(change(), 1..4).boxed()],
        prop::option::weighted(0.05, (any::<Index>(), any::<u8>())),
    )
        .prop_map(|(time, record_time, texts, numbers, elements, changes, mangled)| Ingredients {
            time,
            record_time,
            texts,
            numbers,
            elements,
            changes,
            mangled,
        })
}

/// A record that fits the mapping, before its changes.
fn record(mapping: &OracleMapping, ingredients: &Ingredients) -> Vec<u8> {
    let Ingredients { time, texts, numbers, elements, changes, mangled, .. } = ingredients;
    let mut json = Json::Object(vec![("paid".to_owned(), Json::Raw("true".to_owned()))]);
    let elements = (0..*elements).map(|at| element(mapping, texts, numbers, at)).collect();
    match &mapping.explode {
        Some(path) => json.set(&Path::parse(path, false).unwrap().names, Json::Array(elements)),
        None => json = Json::Object(fields(mapping, texts, numbers, 0, |_| true)),
    }
    for (path, value) in of_fields(mapping, texts, numbers, 0) {
        if path.starts_with("$.") {
            json.set(&Path::parse(path, false).unwrap().names, Json::Raw(value.to_owned()));
        }
    }
    let seconds = BASE + time;
    let text = match mapping.unit.as_str() {
        "Seconds" => format!("{seconds}.25"),
        "Milliseconds" => format!("{seconds}000"),
        "Microseconds" => format!("{seconds}000001"),
        "Nanoseconds" => format!("{seconds}000000999"),
        _ => format!("\"{}\"", Timestamp::from_secs(seconds)),
    };
    if mapping.unit != "RecordTime" {
        json.set(&Path::parse(&mapping.timestamp.path, false).unwrap().names, Json::Raw(text));
    }
    for (at, change) in changes {
        json.change(&mut (at.index(16) + 1), change);
    }
    let mut bytes = json.text().into_bytes();
    if let Some((at, byte)) = mangled {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    bytes
}

fn of_fields<'a>(
    mapping: &'a OracleMapping,
    texts: &[&'static str],
    numbers: &[&'static str],
    element: usize,
) -> Vec<(&'a str, &'static str)> {
    let turned = |list: &[&'static str], at: usize| list[(at + element) % list.len()];
    let dimensions = mapping.dimensions.iter().enumerate().map(|(at, field)| (&*field.path, turned(texts, at)));
    let whole = ["1", "2", "-3", "12"];
    let quantity = std::iter::once((&*mapping.quantity.path, whole[(element + numbers[0].len()) % 4]));
    let money = mapping.price.iter().chain(&mapping.amount).chain(&mapping.sums).enumerate();
    dimensions.chain(money.map(|(at, field)| (&*field.path, turned(numbers, at)))).chain(quantity).collect()
}

fn fields(
    mapping: &OracleMapping,
    texts: &[&'static str],
    numbers: &[&'static str],
    element: usize,
    is_wanted: impl Fn(&str) -> bool,
) -> Vec<(String, Json)> {
    let mut json = Json::Object(Vec::new());
    for (path, value) in of_fields(mapping, texts, numbers, element) {
        if is_wanted(path) {
            json.set(&Path::parse(path, false).unwrap().names, Json::Raw(value.to_owned()));
        }
    }
    match json {
        Json::Object(fields) => fields,
        Json::Raw(_) | Json::Array(_) => Vec::new(),
    }
}

fn element(mapping: &OracleMapping, texts: &[&'static str], numbers: &[&'static str], at: usize) -> Json {
    Json::Object(fields(mapping, texts, numbers, at, |path| !path.starts_with("$.")))
}

const WINDOW: u32 = 300;
const DELAY: u32 = 3600;

/// The engine's fates, batch and oracle for the same records.
fn judged(mapping: &OracleMapping, records: &[(Option<i64>, Vec<u8>)]) -> (Vec<Fate>, Batch, Oracle, Vec<String>) {
    let span = Span::from_secs;
    let rules = Rules { window: span(WINDOW), delay: span(DELAY), max_future: span(DELAY) };
    let mut engine = Engine::with_mapping(rules, true, &engines_mapping(mapping));
    engine.assign(0, Start { next_offset: 0, max_observed: None, floor: Timestamp::EPOCH });
    let seconds = |seconds: u32| Duration::seconds(seconds.into());
    let mut oracle = Oracle::new(seconds(WINDOW), seconds(DELAY)).with_mapping(Some(mapping.clone()));
    let (mut fates, mut expected) = (Vec::new(), Vec::new());
    for (offset, (time, value)) in (0..).zip(records) {
        let timestamp = time.map(|time| Timestamp::from_secs(BASE + time));
        let record = Record { offset, timestamp, value: Some(value), schema: None };
        fates.push(engine.partition(0).unwrap().record(&record).unwrap());
        let timestamp_millis = time.map(|time| (BASE + time) * 1000);
        let record = OracleRecord { offset, timestamp_millis, value: Some(value), schema: None };
        expected.push(oracle.record(0, &record, DateTime::UNIX_EPOCH, seconds(DELAY)).to_owned());
    }
    (fates, engine.take_batch(), oracle, expected)
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn random_mappings_of_random_records_agree_with_the_oracle(
        mapping in mapping(),
        ingredients in prop::collection::vec(ingredients(), 1..12),
    ) {
        let records: Vec<_> =
            ingredients.iter().map(|ingredients| (ingredients.record_time, record(&mapping, ingredients))).collect();
        let (fates, batch, oracle, expected) = judged(&mapping, &records);
        for ((fate, expected), (_, record)) in fates.iter().zip(&expected).zip(&records) {
            prop_assert_eq!(fate.reason(), expected, "{}", record.escape_ascii());
        }
        let rows: Vec<String> = batch.rows.iter().map(|row| format!(
            "{} {:?} {} {} {} {} {:?}",
            row.window_start.as_micros(), row.dimensions, row.sums.events, row.sums.quantity, row.sums.price, row.sums.amount, row.more,
        )).collect();
        let of_oracle: Vec<String> = oracle.rows().iter().map(|row| format!(
            "{} {:?} {} {} {:.6} {:.6} [{}]",
            row.window_start.timestamp_micros(), row.dimensions, row.events, row.total_quantity, row.price_sum, row.total_amount,
            row.more.iter().map(|sum| format!("{sum:.6}")).collect::<Vec<_>>().join(", "),
        )).collect();
        prop_assert_eq!(rows, of_oracle);
        let letters: Vec<String> = batch.dead_letters.iter().map(|letter| format!("{} {:?}", letter.offset, letter.purchase.as_ref()
            .map(|p| format!("{:?} {} {}", p.dimensions, p.quantity, p.amount)))).collect();
        let of_oracle: Vec<String> = oracle.dead_letters().iter().map(|((_, offset), letter)| format!("{} {:?}", offset, letter.purchase.as_ref()
            .map(|p| format!("{:?} {} {:.6}", p.dimensions, p.quantity, p.amount)))).collect();
        prop_assert_eq!(letters, of_oracle);
        let counts = batch.partitions[0].counts;
        let ledger = &oracle.ledgers()[&0];
        prop_assert_eq!(
            (counts.applied, counts.late, counts.invalid, counts.future, counts.filtered),
            (ledger.applied, ledger.late, ledger.invalid, ledger.future, ledger.filtered)
        );
        prop_assert_eq!(counts.total(), records.len() as i64);
    }
}

/// The random records reach every fate and every reason, so that the agreement says something about each.
#[test]
fn random_records_reach_every_fate_and_reason() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::new(cases(1));
    let mut reached = BTreeMap::<&'static str, usize>::new();
    for _ in 0..600 {
        let (mapping, ingredients) =
            (mapping(), prop::collection::vec(ingredients(), 12)).new_tree(&mut runner).unwrap().current();
        let records: Vec<_> =
            ingredients.iter().map(|ingredients| (ingredients.record_time, record(&mapping, ingredients))).collect();
        for fate in judged(&mapping, &records).0 {
            *reached.entry(fate.reason()).or_default() += 1;
        }
    }
    let all =
        ["applied", "late", "future", "filtered", "malformed_json", "missing_field", "bad_items", "bad_timestamp"];
    for fate in all.iter().chain(&["bad_price", "bad_quantity", "bad_key", "no_record_time"]) {
        assert!(reached.get(fate).is_some_and(|count| *count > 20), "{fate}: {reached:?}");
    }
}
