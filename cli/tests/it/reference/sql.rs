//! docs/reference/sql.md: views, tables, columns and functions, as Postgres describes a fresh schema. The texts are its comments.

use std::fmt::Write;

use retail_runtime::markdown::cell;
use retail_store::provision;
use retail_testbed::{Case, Postgres};

use super::page::{self, sentence};

/// The layout of the page, which it explains: two dimensions, one further sum, one rollup.
const SPEC: [&str; 2] = [
    "events: {timestamp: {field: t}, dimensions: [{name: category, field: c}, {name: payment_method, field: m}], \
     quantity: {field: q}, price: {field: p}, sums: [{name: discount, field: d}]}",
    "rollups: [{name: hour, over: 1h}]",
];

/// A table or view.
struct Relation {
    name: String,
    is_view: bool,
    comment: String,
    /// Whether a role of `spec.readers` may read it.
    is_readable: bool,
    /// Name, type and comment.
    columns: Vec<[String; 3]>,
}

#[tokio::test]
async fn page_of_sql_is_fresh() {
    const PAGE: &str = "docs/reference/sql.md";
    let case = SPEC.iter().fold(Case::on("127.0.0.1:1", &Postgres::shared().url()), |case, line| case.spec(line));
    let mut case = case.build();
    let reader = format!("reader_{}", case.settings.pipeline.schema);
    let superuser = case.client_at(&Postgres::shared().superuser_url()).await;
    superuser.batch_execute(&format!("CREATE ROLE \"{reader}\"")).await.unwrap();
    case.settings.pipeline.readers = vec![reader.clone()];
    provision::apply(&case.settings.database, &case.settings.pipeline).await.unwrap();

    let relations = relations(&case, &reader).await;
    let functions = functions(&case).await;
    provision::drop(&case.settings.database, &case.settings.pipeline.uid).await.unwrap();
    superuser.batch_execute(&format!("DROP ROLE \"{reader}\"")).await.unwrap();

    let page = page::read(PAGE);
    let marked = page::marked(&page);
    // Each view has a section. A table without one is in the list of the others.
    let (mut own, other): (Vec<_>, Vec<_>) =
        relations.iter().partition(|relation| relation.is_view || marked.contains(&&*relation.name));
    own.sort_by_key(|relation| marked.iter().position(|name| *name == relation.name));
    let mut sections: Vec<_> = own.iter().map(|relation| (relation.name.clone(), described(relation))).collect();
    sections.push(("index".to_owned(), index(&own)));
    sections.push(("other tables".to_owned(), others(&other)));
    sections.push(("functions".to_owned(), functions));
    page::compare_sections(PAGE, &sections);
}

async fn relations(case: &Case, reader: &str) -> Vec<Relation> {
    let select = format!(
        "SELECT c.relname::text, c.relkind = 'v', coalesce(obj_description(c.oid, 'pg_class'), ''),
                has_table_privilege('{reader}', c.oid, 'SELECT'),
                array_agg(a.attname::text ORDER BY a.attnum),
                array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum),
                array_agg(coalesce(col_description(c.oid, a.attnum), '') ORDER BY a.attnum)
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
         GROUP BY c.oid, c.relname, c.relkind
         ORDER BY c.relkind <> 'v', c.relname"
    );
    let rows = case.query(&select).await;
    let relations = rows.iter().map(|row| {
        let [names, types, comments] = [4, 5, 6].map(|column| row.get::<_, Vec<String>>(column));
        let columns = names.into_iter().zip(types).zip(comments).map(|((name, kind), comment)| [name, kind, comment]);
        let columns = columns.collect();
        Relation { name: row.get(0), is_view: row.get(1), comment: row.get(2), is_readable: row.get(3), columns }
    });
    relations.collect()
}

/// The functions with a comment: the others are for the programs.
async fn functions(case: &Case) -> String {
    let select = "
        SELECT concat(p.proname, '(', pg_get_function_arguments(p.oid), ')'), pg_get_function_result(p.oid),
               obj_description(p.oid, 'pg_proc')
        FROM pg_proc p
        WHERE p.pronamespace = current_schema()::regnamespace AND obj_description(p.oid, 'pg_proc') IS NOT NULL
        ORDER BY p.proname";
    let mut text = "| Function | Result | Meaning |\n|---|---|---|\n".to_owned();
    for row in case.query(select).await {
        let [name, result, comment] = [0, 1, 2].map(|column| row.get::<_, String>(column));
        writeln!(text, "| `{name}` | {} | {} |", cell(&result), cell(&sentence(&comment))).unwrap();
    }
    text
}

/// A line for each view and each table with a section, of which its name is the heading.
fn index(relations: &[&Relation]) -> String {
    let mut text = "| Name | Kind | Content | `spec.readers` may read it |\n|---|---|---|---|\n".to_owned();
    for Relation { name, is_view, comment, is_readable, .. } in relations {
        let kind = if *is_view { "view" } else { "table" };
        let readable = if *is_readable { "yes" } else { "no" };
        let content = cell(&sentence(comment));
        writeln!(text, "| [`{name}`](#{name}) | {kind} | {content} | {readable} |").unwrap();
    }
    text
}

fn described(relation: &Relation) -> String {
    let Relation { name, comment, columns, .. } = relation;
    let mut text = format!("{}\n\n| Column | Type | Meaning |\n|---|---|---|\n", cell(&sentence(comment)));
    for [column, kind, comment] in columns {
        assert_ne!(comment, "", "column {column} of {name} has no comment");
        writeln!(text, "| `{column}` | {} | {} |", cell(kind), cell(&sentence(comment))).unwrap();
    }
    text
}

fn others(relations: &[&Relation]) -> String {
    let mut text = "| Table | Content |\n|---|---|\n".to_owned();
    for Relation { name, comment, .. } in relations {
        assert_ne!(comment, "", "table {name} has no comment");
        writeln!(text, "| `{name}` | {} |", cell(&sentence(comment))).unwrap();
    }
    text
}
