//! SQL for a layout: the files in `crates/store/sql` are templates, in which braces are repeated.
//!
//! ```text
//! {dimensions: g.d#}               g.d1, g.d2              for each dimension, with commas
//! {dimensions AND: t.d# = g.d#}    t.d1 = g.d1 AND ...     for each dimension, with AND
//! {each dimension:d# text, }       d1 text, d2 text,       for each dimension, as it is written
//! {sums: s.sum#}                   s.sum1, s.sum2          for each further sum, with commas
//! {each sum:, sums# bigint[]}      , sums1 bigint[] ...    for each further sum, as it is written
//! ```
//!
//! In braces, `#` is the number from 1, `@` the name as a quoted identifier, and `%` the name within a string literal.

use retail_api::Layout;

/// The form of braces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Repeat {
    /// Items with a separator.
    Joined(&'static str),
    /// Items as they are written.
    Each,
}

/// The beginning of each form, and whether it repeats dimensions.
const FORMS: [(&str, bool, Repeat); 5] = [
    ("{dimensions: ", true, Repeat::Joined(", ")),
    ("{dimensions AND: ", true, Repeat::Joined(" AND ")),
    ("{each dimension:", true, Repeat::Each),
    ("{sums: ", false, Repeat::Joined(", ")),
    ("{each sum:", false, Repeat::Each),
];

/// The SQL of a template for a layout. Other braces stay as they are.
pub fn render(template: &str, layout: &Layout) -> String {
    let mut sql = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, braces) = rest.split_at(at);
        sql += before;
        let form = FORMS.iter().find_map(|(begin, dimensions, repeat)| {
            let (item, after) = braces.strip_prefix(begin)?.split_once('}')?;
            Some((item, after, if *dimensions { layout.dimensions() } else { layout.sums() }, *repeat))
        });
        if let Some((item, after, names, repeat)) = form {
            repeated(&mut sql, item, names, repeat);
            rest = after;
        } else {
            sql.push('{');
            rest = &braces[1..];
        }
    }
    sql + rest
}

fn repeated(sql: &mut String, item: &str, names: &[String], repeat: Repeat) {
    for (at, name) in names.iter().enumerate() {
        if let Repeat::Joined(separator) = repeat
            && at > 0
        {
            sql.push_str(separator);
        }
        for letter in item.chars() {
            match letter {
                '#' => *sql += &(at + 1).to_string(),
                '@' => *sql += &quoted(name),
                '%' => *sql += &name.replace('\'', "''"),
                other => sql.push(other),
            }
        }
    }
}

/// A text as a literal.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name as a quoted identifier.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(dimensions: &[&str], sums: &[&str]) -> Layout {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Layout::new(owned(dimensions), owned(sums)).unwrap()
    }

    #[test]
    fn braces_are_repeated_for_each_column() {
        let template = "SELECT {dimensions: g.d# AS @}{each sum:, s.sum# AS @}, ARRAY[{sums: s.sum#}] FROM x WHERE {dimensions AND: a.d# = b.d#};\n\
                        {each dimension:COMMENT ON COLUMN x.d# IS 'Dimension #: %';\n}{schema} '{64}' {}";
        assert_eq!(
            render(template, &layout(&["a"], &[])),
            "SELECT g.d1 AS \"a\", ARRAY[] FROM x WHERE a.d1 = b.d1;\nCOMMENT ON COLUMN x.d1 IS 'Dimension 1: a';\n{schema} '{64}' {}"
        );
        assert_eq!(
            render(template, &layout(&["a", "b"], &["c", "e"])),
            "SELECT g.d1 AS \"a\", g.d2 AS \"b\", s.sum1 AS \"c\", s.sum2 AS \"e\", ARRAY[s.sum1, s.sum2] FROM x WHERE a.d1 = b.d1 AND a.d2 = b.d2;\n\
             COMMENT ON COLUMN x.d1 IS 'Dimension 1: a';\nCOMMENT ON COLUMN x.d2 IS 'Dimension 2: b';\n{schema} '{64}' {}"
        );
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(quoted("a"), "\"a\"");
        assert_eq!(quoted("a\" AS b, \"c"), "\"a\"\" AS b, \"\"c\"");
        let mut sql = String::new();
        repeated(&mut sql, "x.@ IS '%'", &["it's".to_owned()], Repeat::Each);
        assert_eq!(sql, "x.\"it's\" IS 'it''s'");
    }
}
