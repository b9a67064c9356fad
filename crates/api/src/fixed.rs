//! The fields that cannot be changed once the Postgres schema exists, because its rows and offsets depend on them. Until then, a
//! wrong value can be corrected.

use kube::core::cel::Rule;

/// Whether the resource had no schema before the change.
pub(crate) const NO_SCHEMA: &str = "!has(oldSelf.status) || !has(oldSelf.status.schema)";

/// The topic is bound to its name before the schema exists, too.
pub(crate) fn topic_name() -> Rule {
    Rule::new(
        "!has(oldSelf.status) || (!has(oldSelf.status.schema) && !has(oldSelf.status.topic)) || self.spec.topic.name == oldSelf.spec.topic.name",
    )
    .message("topic.name cannot be changed once the topic or the Postgres schema exists: create a new pipeline")
}

pub(crate) fn window() -> Rule {
    fixed("duration(self.spec.window) == duration(oldSelf.spec.window)", "window")
}

pub(crate) fn delay() -> Rule {
    fixed("duration(self.spec.watermark.delay) == duration(oldSelf.spec.watermark.delay)", "watermark.delay")
}

pub(crate) fn database_schema() -> Rule {
    let (new, old) = ("self.spec.database", "oldSelf.spec.database");
    let same =
        format!("has({new}.schema) == has({old}.schema) && (!has({new}.schema) || {new}.schema == {old}.schema)");
    fixed(&same, "database.schema")
}

pub(crate) fn deduplicate() -> Rule {
    let (new, old) = ("self.spec.deduplicate", "oldSelf.spec.deduplicate");
    let same = format!("has({new}) == has({old}) && (!has({new}) || duration({new}.within) == duration({old}.within))");
    fixed(&same, "deduplicate")
}

fn fixed(is_same: &str, field: &str) -> Rule {
    Rule::new(format!("{NO_SCHEMA} || ({is_same})"))
        .message(&*format!("{field} cannot be changed once the Postgres schema exists: create a new pipeline"))
}
