//! The problems of a pipeline.yaml, each with its position.

use std::fmt;

use crate::yaml::Position;

/// The longest line that is shown, in characters.
const MAX_SNIPPET: usize = 120;

/// A problem of a pipeline.yaml.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Problem {
    /// Position in the text.
    pub position: Position,
    /// Path in the resource, such as `spec.topic.name`; empty for the whole file.
    pub path: String,
    /// The violated rule, as a sentence.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(position: Position, path: &str, message: impl Into<String>) -> Self {
        Self { position, path: path.to_owned(), message: message.into() }
    }

    /// The line of the text that has the problem, and a mark below it, each after a line break. Long lines are left out.
    pub(crate) fn snippet(&self, text: &str) -> String {
        let Position { line, column } = self.position;
        let number = usize::try_from(line).unwrap_or_default().saturating_sub(1);
        let column = usize::try_from(column).unwrap_or_default().saturating_sub(1);
        match text.lines().nth(number) {
            Some(line) if line.chars().count() <= MAX_SNIPPET => {
                // A tab keeps its width in front of the mark.
                let before = line.chars().take(column).map(|c| if c == '\t' { c } else { ' ' }).collect::<String>();
                format!("\n    {line}\n    {before}^")
            }
            _ => String::new(),
        }
    }
}

impl fmt::Display for Problem {
    /// `12:5: spec.window: must be …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        let colon = if self.path.is_empty() { "" } else { ": " };
        write!(f, "{line}:{column}: {}{colon}{}", self.path, self.message)
    }
}

/// All problems of a pipeline.yaml, in the order of the text. Never empty.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::Pipeline;

    #[test]
    fn problem_of_a_file_shows_its_line() {
        let text = "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {name: shop}\nspec:\n  \
                    kafka: {bootstrapServers: \"k:9092\"}\n  topic: {name: t}\n  database: {host: p, name: d}\n  watermark:\n    delay: 60\n";
        let error = Pipeline::parse_named(text, Path::new("shop.yaml")).unwrap_err().to_string();
        let wanted = "shop.yaml:9:12: spec.watermark.delay: must be a duration with its unit: write 60s instead of 60\n        delay: 60\n               ^";
        assert_eq!(error, wanted);
        let long = format!("{}: 1\n", "a".repeat(200));
        assert!(!Pipeline::parse_named(&long, Path::new("a")).unwrap_err().to_string().contains('^'));
    }
}
