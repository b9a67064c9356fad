//! Text in tables of Markdown.

/// A text as Markdown shows it in the cell of a table, with `code` left as it is.
pub fn cell(text: &str) -> String {
    let text = text.replace('\n', " ").replace('|', "\\|");
    let parts = text.split('`').enumerate();
    let escaped = parts.map(|(n, part)| if n % 2 == 1 { part.to_owned() } else { escape(part) });
    escaped.collect::<Vec<_>>().join("`")
}

fn escape(text: &str) -> String {
    text.replace('<', "&lt;").replace('_', "\\_").replace('*', "\\*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cell_escapes_text_and_leaves_code() {
        assert_eq!(cell("a_b <c> `d_e|f*`\nand *g*"), "a\\_b &lt;c> `d_e\\|f*` and \\*g\\*");
    }
}
