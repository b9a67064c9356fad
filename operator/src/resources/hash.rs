//! Hashes of declarations, short enough for an annotation.

use ring::digest::{Context, SHA256};

/// 64 bits in hexadecimal: enough to detect changes; an owner has no use for a collision in their own pipeline.
const LENGTH: usize = 8;

/// The hash of a sequence of texts. Boundaries count: ("a", "b") differs from ("ab", "").
pub(crate) fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref()[..LENGTH].iter().map(|byte| format!("{byte:02x}")).collect()
}
