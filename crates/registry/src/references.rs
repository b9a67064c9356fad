//! Decides which schema to ask for next, until a schema and everything that it refers to is known.
//!
//! A schema that breaks a bound here breaks it at every attempt: it is unusable, and waiting does not help.

use std::collections::HashMap;

use retail_engine::{Reference, SchemaKind, SchemaText};

use crate::answer::{Registered, RegisteredReference};

/// Maximum number of references of a schema, those of its references included.
pub const MAX_REFERENCES: usize = 64;

/// Maximum number of schemas of which each refers to the next.
pub const MAX_DEPTH: usize = 16;

/// Maximum size of the texts and names of a schema and its references, in bytes.
pub const MAX_TEXT: usize = 1 << 20;

/// The next step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Ask for this version, and call [`Resolution::answered`].
    Ask(RegisteredReference),
    /// The schema is complete.
    Complete(SchemaText),
    /// The schema cannot be used; the reason continues the sentence "the schema …".
    Unusable(String),
}

/// A schema whose references are being collected.
struct Open {
    /// `None` for the schema itself.
    reference: Option<RegisteredReference>,
    text: String,
    /// The last one comes next.
    remaining: Vec<RegisteredReference>,
}

/// A schema and the references that are known so far.
pub(crate) struct Resolution {
    kind: Result<SchemaKind, String>,
    /// Each refers to the next.
    open: Vec<Open>,
    /// The version of each name, for all that were asked for.
    named: HashMap<String, (String, i64)>,
    /// A reference comes after those that it refers to.
    complete: Vec<Reference>,
    size: usize,
    has_nul: bool,
}

impl Resolution {
    pub(crate) fn new(schema: Registered) -> Self {
        let kind = match schema.kind.as_deref() {
            None | Some("AVRO") => Ok(SchemaKind::Avro),
            Some("PROTOBUF") => Ok(SchemaKind::Protobuf),
            Some("JSON") => Ok(SchemaKind::Json),
            Some(other) => Err(format!("has the unknown type {}", retail_connection::text::shortened(other, 40))),
        };
        let (open, named, complete) = (Vec::new(), HashMap::new(), Vec::new());
        let mut resolution = Self { kind, open, named, complete, size: 0, has_nul: false };
        resolution.push(None, schema);
        resolution
    }

    /// The registry has returned the version of the last [`Step::Ask`].
    pub(crate) fn answered(&mut self, reference: RegisteredReference, schema: Registered) {
        self.push(Some(reference), schema);
    }

    fn push(&mut self, reference: Option<RegisteredReference>, schema: Registered) {
        let Registered { schema: text, kind: _, references } = schema;
        let name = reference.as_ref().map_or("", |reference| reference.name.as_str());
        self.size += text.len() + name.len();
        self.has_nul |= text.contains('\0') || name.contains('\0');
        let mut remaining = references.unwrap_or_default();
        remaining.reverse();
        self.open.push(Open { reference, text, remaining });
    }

    pub(crate) fn next(&mut self) -> Step {
        let kind = match &self.kind {
            Ok(kind) => *kind,
            Err(problem) => return Step::Unusable(problem.clone()),
        };
        if self.size > MAX_TEXT {
            return Step::Unusable(format!("is larger than {MAX_TEXT} bytes, with its references"));
        }
        if self.has_nul {
            return Step::Unusable("contains the character NUL".to_owned());
        }
        while let Some(mut last) = self.open.pop() {
            if let Some(reference) = last.remaining.pop() {
                self.open.push(last);
                match self.is_known(&reference) {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(problem) => return Step::Unusable(problem),
                }
                if self.named.len() >= MAX_REFERENCES {
                    return Step::Unusable(format!("has more than {MAX_REFERENCES} references"));
                }
                if self.open.len() > MAX_DEPTH {
                    return Step::Unusable(format!("has references deeper than {MAX_DEPTH} schemas"));
                }
                self.named.insert(reference.name.clone(), (reference.subject.clone(), reference.version));
                return Step::Ask(reference);
            }
            let Open { reference, text, remaining: _ } = last;
            match reference {
                Some(reference) => self.complete.push(Reference { name: reference.name, text }),
                None => {
                    let references = std::mem::take(&mut self.complete);
                    return Step::Complete(SchemaText { kind, text, references });
                }
            }
        }
        unreachable!("no step follows a complete schema")
    }

    /// Whether the reference was asked for before.
    fn is_known(&self, reference: &RegisteredReference) -> Result<bool, String> {
        let RegisteredReference { name, subject, version } = reference;
        let is_open = |open: &Open| {
            open.reference.as_ref().is_some_and(|open| open.subject == *subject && open.version == *version)
        };
        if self.open.iter().any(is_open) {
            let subject = retail_connection::text::shortened(subject, 200);
            return Err(format!("has references in a circle, through version {version} of subject \"{subject}\""));
        }
        match self.named.get(name) {
            None => Ok(false),
            Some((of, at)) if of == subject && at == version => Ok(true),
            Some(_) => {
                let name = retail_connection::text::shortened(name, 200);
                Err(format!("has two different references with the name \"{name}\""))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(subject: &str) -> RegisteredReference {
        RegisteredReference { name: format!("n.{subject}"), subject: subject.to_owned(), version: 1 }
    }

    fn schema(text: &str, references: &[&str]) -> Registered {
        let references = references.iter().map(|subject| reference(subject)).collect();
        Registered { schema: text.to_owned(), kind: None, references: Some(references) }
    }

    /// Resolves a schema in a registry in which `of` has the references of each subject. Returns the number of requests too.
    fn resolve(root: &[&str], of: impl Fn(&str) -> Vec<String>) -> (Step, usize) {
        let mut resolution = Resolution::new(schema("root", root));
        for requests in 0.. {
            match resolution.next() {
                Step::Ask(asked) => {
                    let references = of(&asked.subject);
                    let references: Vec<&str> = references.iter().map(String::as_str).collect();
                    let text = format!("text of {}", asked.subject);
                    resolution.answered(asked, schema(&text, &references));
                }
                step @ (Step::Complete(_) | Step::Unusable(_)) => return (step, requests),
            }
        }
        unreachable!()
    }

    fn names(step: &Step) -> Vec<String> {
        let Step::Complete(text) = step else { panic!("{step:?}") };
        text.references.iter().map(|reference| reference.name.clone()).collect()
    }

    fn unusable(step: &Step) -> String {
        let Step::Unusable(problem) = step else { panic!("{step:?}") };
        problem.clone()
    }

    #[test]
    fn reference_comes_before_its_users_and_is_asked_for_once() {
        let (step, requests) = resolve(&["a", "b"], |subject| match subject {
            "a" => vec!["c".to_owned(), "d".to_owned()],
            "b" => vec!["d".to_owned()],
            _ => vec![],
        });
        assert_eq!(names(&step), ["n.c", "n.d", "n.a", "n.b"]);
        assert_eq!(requests, 4);
    }

    #[test]
    fn circle_of_references_is_unusable() {
        let (step, requests) = resolve(&["a"], |subject| vec![if subject == "a" { "b" } else { "a" }.to_owned()]);
        assert!(unusable(&step).contains("in a circle, through version 1 of subject \"a\""));
        assert_eq!(requests, 2);
    }

    #[test]
    fn endless_references_end_at_the_bounds() {
        let (step, requests) = resolve(&["1"], |subject| vec![format!("{subject}1")]);
        assert!(unusable(&step).contains("deeper than 16 schemas"));
        assert_eq!(requests, MAX_DEPTH);
        let many: Vec<String> = (0..=MAX_REFERENCES).map(|number| format!("s{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let (step, requests) = resolve(&many, |_| vec![]);
        assert!(unusable(&step).contains("more than 64 references"));
        assert_eq!(requests, MAX_REFERENCES);
        assert_eq!(names(&resolve(&many[..MAX_REFERENCES], |_| vec![]).0).len(), MAX_REFERENCES);
    }

    #[test]
    fn texts_are_bounded_together() {
        let half = "x".repeat(MAX_TEXT / 2);
        let mut resolution = Resolution::new(schema(&half, &["a"]));
        let Step::Ask(asked) = resolution.next() else { panic!("a reference is unknown") };
        resolution.answered(asked, schema(&half, &[]));
        assert!(unusable(&resolution.next()).contains("larger than 1048576 bytes"));
    }

    #[test]
    fn one_name_of_two_versions_is_unusable() {
        let mut root = schema("root", &["a"]);
        let other = RegisteredReference { version: 2, ..reference("a") };
        root.references.as_mut().unwrap().push(other);
        let mut resolution = Resolution::new(root);
        let Step::Ask(asked) = resolution.next() else { panic!("a reference is unknown") };
        resolution.answered(asked, schema("a", &[]));
        assert!(unusable(&resolution.next()).contains("two different references with the name \"n.a\""));
    }

    #[test]
    fn kinds_and_characters_that_no_store_takes_are_unusable() {
        let of = |kind: Option<&str>, text: &str| {
            let kind = kind.map(str::to_owned);
            Resolution::new(Registered { schema: text.to_owned(), kind, references: None }).next()
        };
        assert!(matches!(of(None, "x"), Step::Complete(SchemaText { kind: SchemaKind::Avro, .. })));
        assert!(matches!(of(Some("PROTOBUF"), "x"), Step::Complete(SchemaText { kind: SchemaKind::Protobuf, .. })));
        assert!(matches!(of(Some("JSON"), "x"), Step::Complete(SchemaText { kind: SchemaKind::Json, .. })));
        assert!(unusable(&of(Some("XML\n"), "x")).contains("unknown type XML"));
        assert!(unusable(&of(None, "a\0b")).contains("NUL"));
    }
}
