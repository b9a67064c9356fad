//! The views and functions of a schema. Each has its own fingerprint, so that `apply` replaces only those that differ: replacing
//! a view needs a lock that waits for its readers.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use retail_api::{Layout, Pipeline, Rollup};
use retail_connection::ErrorKind;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::migrate::checksum;
use crate::rollup;
use crate::session::{Parameter, Session};
use crate::template::render;

/// Reads the fingerprints of views and functions, and missing parts of tables.
pub(crate) const INSPECT: &str = include_str!("../sql/inspect.sql");

/// The recorded fingerprint of each view and function.
pub(crate) const SELECT_RECORDED: &str =
    "SELECT coalesce(array_agg(name || ' ' || fingerprint), '{}') FROM {schema}.definitions";

/// Each column and each primary key of all tables.
const TABLES: &str = include_str!("../sql/tables.txt");

const FUNCTIONS: &[&str] = &[include_str!("../sql/functions.sql")];

const VIEWS: &[&str] = &[include_str!("../sql/views.sql")];

/// The beginning of a definition, which is the first line of its text.
const BEGIN: &str = "CREATE OR REPLACE ";

/// The definitions of the default layout without rollups, which most schemas have.
static OF_DEFAULT_LAYOUT: LazyLock<Arc<Definitions>> =
    LazyLock::new(|| Arc::new(Definitions::new(&Layout::default(), &[])));

/// The views, functions and tables of a layout.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Definitions {
    /// In the order in which they must be created.
    all: Vec<Definition>,
    /// Each column and each primary key of all tables.
    tables: Vec<String>,
}

impl Definitions {
    pub(crate) fn of(pipeline: &Pipeline) -> Arc<Self> {
        let Pipeline { layout, rollups, .. } = pipeline;
        if rollups.is_empty() && *layout == Layout::default() {
            return Arc::clone(&OF_DEFAULT_LAYOUT);
        }
        Arc::new(Self::new(layout, rollups))
    }

    fn new(layout: &Layout, rollups: &[Rollup]) -> Self {
        let fixed = FUNCTIONS.iter().chain(VIEWS).map(|file| render(file, layout));
        let rollups = rollups.iter().map(|rollup| rollup::definition(rollup, layout));
        let all = fixed.chain(rollups).flat_map(|file| split(&file)).collect();
        Self { all, tables: render(TABLES, layout).lines().map(str::to_owned).collect() }
    }

    fn names(&self, kind: Kind) -> Vec<&str> {
        self.all.iter().filter(|definition| definition.kind == kind).map(|definition| &*definition.name).collect()
    }

    fn table_names(&self) -> Vec<&str> {
        let mut tables: Vec<&str> = self.tables.iter().filter_map(|line| line.split(['.', ' ']).next()).collect();
        tables.dedup();
        tables
    }

    /// The names of all tables and views.
    fn relations(&self) -> Vec<&str> {
        self.names(Kind::View).into_iter().chain(self.table_names()).collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Function,
    View,
}

/// A view or function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Definition {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// The statements that create it.
    sql: String,
    checksum: String,
}

impl Definition {
    /// Its kind and its name.
    pub(crate) fn label(&self) -> String {
        match self.kind {
            Kind::Function => format!("function {}", self.name),
            Kind::View => format!("view {}", self.name),
        }
    }
}

/// Creates or replaces views and functions, and records their fingerprints: Postgres stores definitions in its own notation. The
/// transaction has the schema as its search_path.
pub(crate) async fn make(
    transaction: &Session,
    pipeline: &Pipeline,
    definitions: &[Definition],
) -> Result<(), DatabaseError> {
    if definitions.is_empty() {
        return Ok(());
    }
    for definition in definitions {
        transaction.batch(&definition.sql).await.map_err(|mut error| {
            if error.kind == ErrorKind::Other {
                error.kind = ErrorKind::Changed;
                error.message += ": drop the conflicting view or function, and apply the schema again to recreate it";
            }
            error
        })?;
    }
    let inspected = inspect(transaction, pipeline).await?;
    let labels: Vec<String> = definitions.iter().map(Definition::label).collect();
    let fingerprints: Vec<String> = definitions.iter().map(|definition| inspected.fingerprint(definition)).collect();
    let record = "
        INSERT INTO {schema}.definitions (name, fingerprint) SELECT * FROM unnest($1::text[], $2::text[])
        ON CONFLICT (name) DO UPDATE SET fingerprint = excluded.fingerprint";
    transaction.execute(record, &[(&labels, Type::TEXT_ARRAY), (&fingerprints, Type::TEXT_ARRAY)]).await.map(drop)
}

/// The definitions in a file. Each ends before the comment of the next one.
fn split(file: &str) -> Vec<Definition> {
    let begins: Vec<usize> =
        file.match_indices(BEGIN).map(|(at, _)| at).filter(|at| *at == 0 || file.as_bytes()[at - 1] == b'\n').collect();
    let ends = begins.iter().skip(1).copied().chain([file.len()]);
    begins.iter().zip(ends).map(|(begin, end)| definition(&file[*begin..end])).collect()
}

fn definition(text: &str) -> Definition {
    let mut sql = text.trim_end();
    while let Some((before, line)) = sql.rsplit_once('\n')
        && line.starts_with("--")
    {
        sql = before.trim_end();
    }
    let (kind, name) = sql[BEGIN.len()..].split_once(' ').expect("a definition has a kind and a name");
    let name = name.split(['(', ' ', '\n']).next().expect("splitting yields a first part").trim_matches('"');
    let kind = match kind {
        "FUNCTION" => Kind::Function,
        "VIEW" => Kind::View,
        other => unreachable!("the file contains a {other}"),
    };
    Definition { kind, name: name.to_owned(), sql: sql.to_owned(), checksum: checksum(sql) }
}

/// The names of all views of a pipeline.
pub(crate) fn views(pipeline: &Pipeline) -> Vec<String> {
    Definitions::of(pipeline).names(Kind::View).into_iter().map(str::to_owned).collect()
}

/// The answer to [`INSPECT`].
pub(crate) struct Inspected {
    /// The fingerprint of each existing view and function, by label.
    existing: BTreeMap<String, String>,
    /// Whether a role of `spec.readers` cannot read a view.
    pub(crate) readers_lack: bool,
    /// Whether the role of `database.runtimeRole` lacks a right.
    pub(crate) runtime_lacks: bool,
}

impl Inspected {
    /// From a row with the columns of [`INSPECT`]. A missing part of a table is an error: it cannot be restored without losing
    /// data.
    pub(crate) fn new(session: &Session, row: &Row) -> Result<Self, DatabaseError> {
        if let Some(lacks) = row.get::<_, Option<Vec<String>>>("lacks") {
            let connection = session.connection();
            let message = format!(
                "schema \"{}\" in postgres at {} was changed: its tables lack {}; restore them, from a backup if rows are lost, \
                 or create another pipeline with another database.schema",
                connection.schema,
                connection.address(),
                shortened(&lacks),
            );
            return Err(DatabaseError::new(ErrorKind::Changed, message));
        }
        let (names, fingerprints): (Vec<String>, Vec<String>) = (row.get("names"), row.get("fingerprints"));
        let (readers_lack, runtime_lacks) = (row.get("readers_lack"), row.get("runtime_lacks"));
        Ok(Self { existing: names.into_iter().zip(fingerprints).collect(), readers_lack, runtime_lacks })
    }

    /// Whether a view or function exists, in whatever form.
    pub(crate) fn has(&self, definition: &Definition) -> bool {
        self.existing.contains_key(&definition.label())
    }

    /// The fingerprint of a definition: of the text that it was created from, and of its present form.
    fn fingerprint(&self, definition: &Definition) -> String {
        let existing = self.existing.get(&definition.label()).map_or("missing", String::as_str);
        format!("{} {existing}", definition.checksum)
    }

    /// The definitions that are not as recorded, in the order in which they must be created.
    pub(crate) fn outdated(&self, definitions: &Definitions, recorded: &[String]) -> Vec<Definition> {
        let is_as_recorded = |definition: &Definition| {
            self.has(definition)
                && recorded.contains(&format!("{} {}", definition.label(), self.fingerprint(definition)))
        };
        definitions.all.iter().filter(|definition| !is_as_recorded(definition)).cloned().collect()
    }
}

/// The parameters of [`INSPECT`].
pub(crate) struct InspectParameters<'d> {
    tables: &'d [String],
    functions: Vec<&'d str>,
    views: Vec<&'d str>,
    readers: &'d [String],
    runtime_roles: Vec<&'d str>,
}

impl<'d> InspectParameters<'d> {
    pub(crate) fn new(definitions: &'d Definitions, pipeline: &'d Pipeline) -> Self {
        let names = |kind| definitions.names(kind);
        let (functions, views) = (names(Kind::Function), names(Kind::View));
        let runtime_roles = pipeline.database.runtime_role.as_deref().into_iter().collect();
        Self { tables: &definitions.tables, functions, views, readers: &pipeline.readers, runtime_roles }
    }

    /// In their order, after the name of the schema.
    pub(crate) fn after<'a>(&'a self, schema: &'a String) -> [Parameter<'a>; 6] {
        let texts = Type::TEXT_ARRAY;
        [
            (schema, Type::TEXT),
            (&self.tables, texts.clone()),
            (&self.functions, texts.clone()),
            (&self.views, texts.clone()),
            (&self.readers, texts.clone()),
            (&self.runtime_roles, texts),
        ]
    }
}

/// The names of all tables, which are the same in every layout.
pub(crate) fn tables() -> Vec<&'static str> {
    OF_DEFAULT_LAYOUT.table_names()
}

/// The names of all tables and views, which are the same in every layout.
pub(crate) fn relations() -> Vec<&'static str> {
    OF_DEFAULT_LAYOUT.relations()
}

/// Reads the fingerprints of the existing views and functions.
async fn inspect(session: &Session, pipeline: &Pipeline) -> Result<Inspected, DatabaseError> {
    let definitions = Definitions::of(pipeline);
    let parameters = InspectParameters::new(&definitions, pipeline);
    let row = session.query_one(INSPECT, &parameters.after(&session.connection().schema)).await?;
    Inspected::new(session, &row)
}

/// The recorded views that the pipeline no longer has.
pub(crate) fn stale_views(recorded: &[String], definitions: &Definitions) -> Vec<String> {
    let names = definitions.names(Kind::View);
    let recorded = recorded.iter().filter_map(|line| line.strip_prefix("view ")?.split(' ').next());
    recorded.filter(|name| !names.contains(name)).map(str::to_owned).collect()
}

/// Forgets a view that was dropped.
pub(crate) async fn forget_view(transaction: &Session, name: &str) -> Result<(), DatabaseError> {
    let delete = "DELETE FROM {schema}.definitions WHERE name = 'view ' || $1";
    transaction.execute(delete, &[(&name, Type::TEXT)]).await.map(drop)
}

/// The fingerprints that are recorded.
pub(crate) async fn recorded(session: &Session) -> Result<Vec<String>, DatabaseError> {
    Ok(session.query_one(SELECT_RECORDED, &[]).await?.get(0))
}

/// The views and functions that differ from this program's or were changed.
pub(crate) async fn outdated(
    session: &Session,
    pipeline: &Pipeline,
) -> Result<(Inspected, Vec<Definition>), DatabaseError> {
    let definitions = Definitions::of(pipeline);
    let inspected = inspect(session, pipeline).await?;
    let recorded = recorded(session).await?;
    let outdated = inspected.outdated(&definitions, &recorded);
    Ok((inspected, outdated))
}

fn shortened(lacks: &[String]) -> String {
    const MOST: usize = 3;
    match lacks.len().checked_sub(MOST) {
        Some(more @ 1..) => format!("{} and {more} more", lacks[..MOST].join(", ")),
        _ => lacks.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_split_before_the_comment_of_the_next_definition() {
        let file = "-- Head\n\nCREATE OR REPLACE VIEW a AS\nSELECT 1;\nCOMMENT ON VIEW a IS 'x';\n\n-- About b\n-- more\n\
                    CREATE OR REPLACE FUNCTION b(x int) RETURNS void\nLANGUAGE sql AS ''\n;\n";
        let definitions = split(file);
        let seen: Vec<_> = definitions.iter().map(|one| (one.label(), &*one.sql)).collect();
        assert_eq!(
            seen,
            [
                ("view a".to_owned(), "CREATE OR REPLACE VIEW a AS\nSELECT 1;\nCOMMENT ON VIEW a IS 'x';"),
                ("function b".to_owned(), "CREATE OR REPLACE FUNCTION b(x int) RETURNS void\nLANGUAGE sql AS ''\n;"),
            ]
        );
        assert_ne!(definitions[0].checksum, definitions[1].checksum);
    }

    #[test]
    fn each_object_is_defined_once() {
        let mut labels: Vec<String> = OF_DEFAULT_LAYOUT.all.iter().map(Definition::label).collect();
        let all = labels.len();
        labels.sort();
        labels.dedup();
        assert_eq!(labels.len(), all);
        assert!(relations().contains(&"retail") && relations().contains(&"pipeline"));
        assert!(OF_DEFAULT_LAYOUT.names(Kind::Function).contains(&"claim"));
    }
}
