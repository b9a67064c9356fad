//! The fields that a mapping reads, by their role. Without a mapping, those of the tutorial.

use retail_engine::{Level, Mapping, NumberField, Path, TextField, TimeField, ValueField};

use crate::names::Role;

/// A field that a record needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    pub(crate) role: Role,
    /// The name in texts: a path as the mapping has it, without quotes.
    pub(crate) place: String,
    pub(crate) level: Level,
    pub(crate) names: Vec<Box<str>>,
    pub(crate) is_required: bool,
    /// Whether a string can contain the number.
    pub(crate) is_text: bool,
    /// Decimals of the unit of a number, or of a second.
    pub(crate) scale: u8,
    pub(crate) can_be_negative: bool,
    /// Whether it is a time in RFC 3339. The tutorial's times are that, or seconds.
    pub(crate) is_rfc3339: bool,
    /// Whether numbers and booleans are texts.
    pub(crate) takes_all_scalars: bool,
    /// Whether it is the id for deduplication.
    pub(crate) is_id: bool,
}

impl Wanted {
    fn new(role: Role, path: &Path, is_required: bool) -> Self {
        Self {
            role,
            place: path.names.join("."),
            level: path.level,
            names: path.names.clone(),
            is_required,
            is_text: false,
            scale: 0,
            can_be_negative: false,
            is_rfc3339: false,
            takes_all_scalars: true,
            is_id: false,
        }
    }

    fn number(role: Role, field: &NumberField, can_be_negative: bool) -> Self {
        let NumberField { path, if_missing, is_text, scale } = field;
        Self { is_text: *is_text, scale: *scale, can_be_negative, ..Self::new(role, path, if_missing.is_none()) }
    }
}

/// The fields of a mapping, in the order in which the engine reads them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct WantedFields {
    pub(crate) fields: Vec<Wanted>,
    pub(crate) explode: Option<Path>,
    pub(crate) is_default: bool,
    pub(crate) refunds: bool,
}

impl WantedFields {
    pub(crate) fn of(mapping: Option<&Mapping>) -> Self {
        let Some(mapping) = mapping else { return Self::tutorial() };
        let Mapping { format: _, id, timestamp, dimensions, quantity, value, refunds, sums, condition: _, explode } =
            mapping;
        let mut fields = Vec::new();
        match timestamp {
            TimeField::Rfc3339(path) => {
                fields.push(Wanted { is_rfc3339: true, ..Wanted::new(Role::Time, path, true) });
            }
            TimeField::Number { path, decimals, is_text } => {
                fields.push(Wanted { scale: *decimals, is_text: *is_text, ..Wanted::new(Role::Time, path, true) });
            }
            TimeField::RecordTime => {}
        }
        fields.push(Wanted::number(Role::Quantity, quantity, *refunds));
        fields.push(match value {
            ValueField::Price(field) => Wanted::number(Role::Price, field, *refunds),
            ValueField::Amount(field) => Wanted::number(Role::Amount, field, *refunds),
        });
        fields.extend(sums.iter().map(|sum| Wanted::number(Role::Sum, sum, true)));
        fields.extend(
            dimensions.iter().map(|TextField { path, if_missing }| Wanted::new(Role::Text, path, if_missing.is_none())),
        );
        fields.extend(id.iter().map(|path| Wanted { is_id: true, ..Wanted::new(Role::Text, path, true) }));
        Self { fields, explode: explode.clone(), is_default: false, refunds: *refunds }
    }

    /// Whether a field of this name is read, or is on the way to one.
    pub(crate) fn reads(&self, name: &str) -> bool {
        let unread = ["transaction_id", "customer_id", "brand", "product_name", "ts"];
        let names = self.fields.iter().flat_map(|wanted| &wanted.names);
        names.chain(self.explode.iter().flat_map(|path| &path.names)).any(|other| **other == *name)
            || (self.is_default && unread.contains(&name))
    }

    fn tutorial() -> Self {
        let field = tutorial_field;
        let fields = vec![
            Wanted { is_rfc3339: true, ..field(Role::Time, "timestamp") },
            field(Role::Quantity, "quantity"),
            field(Role::Price, "price"),
            field(Role::Text, "category"),
            field(Role::Text, "payment_method"),
        ];
        Self { fields, explode: None, is_default: true, refunds: false }
    }

    /// The fields of the tutorial, with the id for deduplication.
    pub(crate) fn tutorial_with_id() -> Self {
        let mut wanted = Self::tutorial();
        wanted.fields.push(Wanted { is_id: true, ..tutorial_field(Role::Text, "transaction_id") });
        wanted
    }
}

fn tutorial_field(role: Role, name: &str) -> Wanted {
    let path = Path { level: Level::Record, names: vec![name.into()] };
    Wanted { takes_all_scalars: false, ..Wanted::new(role, &path, true) }
}
